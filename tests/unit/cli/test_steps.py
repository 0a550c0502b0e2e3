"""Finished steps are lines; unfinished ones say what they wait for, how far and how long."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from gpuforge.cli.output import Output
from gpuforge.cli.steps import moving_line
from gpuforge.models.progress import Step


def test_a_wait_tells_its_deadline():
    """How long it may still take at most."""
    step = Step(
        key="ssh", text="waiting for the host key", deadline=datetime.now(UTC) + timedelta(seconds=168)
    )

    line = moving_line(step, 12, "|")

    assert line == "  | ssh         waiting for the host key  (12 s of at most 180 s)"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Step(key="x", text="t"), "(4 s)"),
        (Step(key="x", text="t", current=3, total=20, unit="nodes"), "3 of 20 nodes (4 s)"),
        (Step(key="x", text="t", current=0, total=1, unit="nodes"), "(4 s)"),
        (
            Step(key="x", text="t", current=1_000_000, total=4_000_000, unit="bytes"),
            "━━━━━─────────────── 1.0 MB of 4.0 MB · 250.0 kB/s · 12 s left",
        ),
        (
            Step(key="x", text="t", current=0, total=9, unit="bytes"),
            "──────────────────── 0 B of 9 B · 0 B/s",
        ),
    ],
)
def test_work_tells_how_far_it_is(step, told):
    """Bytes with rate and time left, nodes by number, else the time that passed."""
    assert moving_line(step, 4, "|") == f"  | x           t  {told}"


def test_finished_steps_are_lines_with_their_time(capsys):
    """Good and bad ones; a step in flight leaves no trace without a terminal."""
    steps = Output().steps

    steps.show(Step(key="ssh", text="waiting"))
    steps.show(Step(key="ssh", text="pinned", done=True))
    steps.show(Step(key="down", text="may still bill", failed=True))

    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("  ✓ ssh         pinned ")
    assert first.endswith(" s")
    assert second.startswith("  ✗ down        may still bill ")


def test_a_dropped_step_is_forgotten(capsys):
    """It was over without anything to say."""
    steps = Output().steps
    steps.show(Step(key="queue", text="waiting"))
    assert steps.is_open("queue")

    steps.drop("queue")

    assert not steps.is_open("queue")
    assert capsys.readouterr().err == ""


def test_a_moving_line_shows_after_a_second_and_goes_away(terminal, tmp_path):
    """On a real terminal: what it waits for, then the finished line alone."""
    result = terminal(
        "up", "--gpus", "L4:1", "-c", "slow", "--yes", width=90, env={"GPUFORGE_FAKE_LATENCY": "5"}
    )
    ended = terminal("fake", "reset", "--yes")

    assert (result.code, ended.code) == (0, 0)
    moving = [line for line in result.out.splitlines() if " s of at most " in line]
    assert moving, result.out
    after = result.out.rpartition("✓ ssh")[2]
    assert "of at most" not in after
    assert "next          gpuforge run -c slow -- nvidia-smi" in after


def test_closing_ends_what_is_in_flight():
    """Nothing moves after the command is over."""
    steps = Output().steps
    steps.show(Step(key="a", text="b"))

    steps.close()

    assert not steps.is_open("a")
    assert steps._watcher is None
    assert time.monotonic() > steps._quiet_since
