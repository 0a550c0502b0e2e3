"""``pull`` keeps what changed here, and says when there is nothing."""

from __future__ import annotations


def test_nothing_of_that_name_is_an_error(gpuforge, live):
    """Exit 66, and how to look."""
    result = gpuforge("pull", "no/such*")

    assert result.code == 66
    assert result.err.endswith(
        "error: nothing on dev matches no/such*\n  do   gpuforge ssh dev -- ls workdir\n"
    )


def test_a_file_that_changed_here_is_kept(gpuforge, live):
    """With a warning that names it, in the text and in the document."""
    gpuforge("run", "-c", "dev", "--", "mkdir -p kept; echo theirs > kept/a; echo both > kept/b")
    (live / "kept").mkdir()
    (live / "kept" / "a").write_text("mine\n")

    shown = gpuforge("pull", "kept")
    asked = gpuforge("pull", "kept", "--json")

    assert (live / "kept" / "a").read_text() == "mine\n"
    assert (live / "kept" / "b").read_text() == "both\n"
    assert "warning: kept/a: " in shown.err
    assert asked.document["data"]["skipped"][0]["path"] == "kept/a"
