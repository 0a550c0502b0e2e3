"""``init`` writes a task file that loads, and never over one that is there."""

from __future__ import annotations

import pytest


def test_the_file_it_writes_can_be_planned(gpuforge, no_machines):
    """As it is."""
    result = gpuforge("init")

    assert result.code == 0
    assert result.err.startswith("wrote gpuforge.yaml\n  next   gpuforge plan ")
    assert gpuforge("plan").code == 0


def test_an_existing_file_is_left_alone(gpuforge, no_machines):
    """Exit 73, and what to do."""
    (no_machines / "gpuforge.yaml").write_text("mine")

    result = gpuforge("init")

    assert result.code == 73
    assert result.err == (
        "error: gpuforge.yaml is there already; it was left as it is\n"
        "  do   another name, or --force to replace it\n"
    )
    assert (no_machines / "gpuforge.yaml").read_text() == "mine"


def test_force_replaces_it(gpuforge, no_machines):
    """On demand."""
    (no_machines / "gpuforge.yaml").write_text("mine")

    assert gpuforge("init", "--force", "--gpus", "A100:2").code == 0

    assert "A100:2" in (no_machines / "gpuforge.yaml").read_text()


def test_the_answer_is_a_document(gpuforge, no_machines):
    """Under the name that was asked for."""
    result = gpuforge("init", "task one.yaml", "--json", "-n", "one")

    assert result.document["data"] == {"file": "task one.yaml"}
    assert (no_machines / "task one.yaml").exists()


@pytest.mark.parametrize("argv", [["nowhere/x.yaml"], ["--gpus", "L4:0"], ["-n", "no good name"]])
def test_what_cannot_be_written_is_refused(argv, gpuforge, no_machines):
    """With a reason, and without half a file."""
    result = gpuforge("init", *argv)

    assert result.code in {64, 73}
    assert result.err.startswith("error: ")
    assert list(no_machines.iterdir()) == []
