"""``push`` and ``pull`` bring files there and back, whole."""

from __future__ import annotations

import os

import pytest


def test_a_folder_goes_there_and_back(gpuforge, live):
    """Odd names, modes and links; then nothing is left to send."""
    source = live / "src"
    (source / "deep er").mkdir(parents=True)
    (source / "deep er" / "na'me;\n☃").write_text("text")
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("run.sh")

    sent = gpuforge("push", "src", "workdir/there", "--json").document["data"]
    again = gpuforge("push", "src", "workdir/there")
    back = gpuforge("pull", "there", "--into", "back")

    assert sent[0]["sent_files"] >= 2
    assert " · 0 sent (0 B) · " in again.err
    assert back.code == 0
    there = live / "back" / "there"
    assert (there / "deep er" / "na'me;\n☃").read_text() == "text"
    assert os.access(there / "run.sh", os.X_OK)
    assert (there / "link").readlink().name == "run.sh"


@pytest.mark.parametrize(
    ("remote", "place"),
    [((), "one.txt"), (("workdir/sub/",), "sub/one.txt"), (("workdir/two.txt",), "two.txt")],
)
def test_a_file_goes_where_a_copy_would_put_it(remote, place, gpuforge, live):
    """Into the workdir, into a folder, or under a name."""
    (live / "one.txt").write_text("1")

    assert gpuforge("push", "one.txt", *remote).code == 0

    assert gpuforge("run", "-c", "dev", "--", "cat", place).out == "1"


def test_what_is_not_there_cannot_be_sent(gpuforge, live):
    """Exit 64."""
    result = gpuforge("push", "nowhere")

    assert result.code == 64
    assert "nowhere" in result.err


def test_places_outside_the_machines_home_are_refused(gpuforge, live):
    """Nothing of this computer is touched."""
    (live / "one.txt").write_text("1")

    result = gpuforge("push", "one.txt", "/etc/gpuforge-test")

    assert result.code != 0
    assert result.err.startswith("error: ") or "\nerror: " in result.err
