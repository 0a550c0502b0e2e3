"""Following a job: lines of several nodes, secrets across pieces, the course of a job, its end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gpuforge.cli import follow
from gpuforge.cli.output import output
from gpuforge.models.job import ExitRecord, JobState, JobStatus
from gpuforge.redact import register

NOW = datetime(2026, 11, 25, 15, 40, tzinfo=UTC)
RECORD = ExitRecord(
    rank=0, state=JobState.FAILED, exit_code=1, signal=9, phase="run", cause="killed by SIGKILL", ended=NOW
)
STATUS = JobStatus(
    job_id="abc", alias=3, name="train", state=JobState.FAILED, submitted=NOW, started=NOW,
    ended=NOW + timedelta(seconds=14.2), exit_code=137, cause="killed by SIGKILL", records=(RECORD,),
)  # fmt: skip


@pytest.fixture(autouse=True)
def fresh():
    output.begin(as_json=False)


def test_one_nodes_bytes_pass_untouched(capfdbinary):
    """Carriage returns work, half lines show at once."""
    screen = follow.Lines(prefix=False)

    screen.show(0, b"50 %\r")
    screen.show(0, b"100 %\xff")
    screen.end()

    assert capfdbinary.readouterr().out == b"50 %\r100 %\xff"


def test_several_nodes_are_told_apart_by_lines(capfdbinary):
    """A line is never torn between nodes; an unfinished one comes at the end."""
    screen = follow.Lines(prefix=True)

    screen.show(0, b"al")
    screen.show(1, b"beta\nga")
    screen.show(0, b"pha\n")
    screen.end()

    assert capfdbinary.readouterr().out == b"[1] beta\n[0] alpha\n[1] ga\n"


def test_a_secret_in_two_pieces_is_masked(capfdbinary):
    """Of one node, of several, and as events."""
    register("opensesame")
    for screen in (follow.Lines(prefix=False), follow.Lines(prefix=True)):
        screen.show(0, b"say opense")
        screen.show(0, b"same now, open")
        screen.end()
    output.begin(as_json=True)
    screen = follow.Lines(prefix=False)
    screen.show(0, b"opense")
    screen.show(0, b"same\n")
    screen.end()

    first, second = capfdbinary.readouterr().out.split(b"\n")[0:2]
    assert first == b"say *** now, open[0] say *** now, open"
    assert json.loads(second)["text"] == "***"


def state_of(phase):
    return SimpleNamespace(phase=phase)


@pytest.mark.parametrize(
    ("phases", "keys"),
    [
        (["setup", "run"], ["✓ setup", "▶ job 3"]),
        (["queue", "setup", "wait", "run"], ["✓ setup", "▶ job 3"]),
        (["run"], ["✓ setup", "▶ job 3"]),
        (["queue"], []),
        ([], []),
    ],
)
def test_the_course_of_a_job_is_told_in_order(phases, keys, capsys):
    """Whatever changes were seen, each line stands once."""
    stream = SimpleNamespace(states={}, records={}, alias=3)
    course = follow._Course(stream, "# install\npip install x\npip install y", "python train.py")
    course.begin()

    for phase in phases:
        stream.states[0] = state_of(phase)
        stream.on_change()
        stream.on_change()

    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert [line[2:14].rstrip() for line in lines] == keys
    if keys:
        assert "pip install x …" in lines[0]
        assert lines[1] == "  ▶ job 3       python train.py"
    output.steps.close()


def test_a_gang_runs_once_every_node_does(capsys):
    """The one that is behind decides."""
    stream = SimpleNamespace(states={0: state_of("run"), 1: state_of("setup")}, records={}, alias=None)
    follow._Course(stream, "", "true")

    stream.on_change()
    assert capsys.readouterr().err == ""
    stream.states[1] = state_of("run")
    stream.on_change()

    assert capsys.readouterr().err == "  ▶ job         true\n\n"


def test_a_setup_that_failed_is_marked(capsys):
    """By the record of its phase."""
    stream = SimpleNamespace(
        states={0: state_of("setup")}, records={0: replace(RECORD, phase="setup")}, alias=3
    )
    course = follow._Course(stream, "pip install x", "true")
    course.begin()

    stream.on_change()
    course.end()

    assert capsys.readouterr().err.startswith("  ✗ setup       pip install x")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "  ✗ job 3       exit 137  killed by SIGKILL"),
        ({"state": JobState.SUCCEEDED, "exit_code": 0, "cause": ""}, "  ✓ job 3       exit 0"),
        ({"exit_code": 66, "cause": "exit 66"}, "  ✗ job 3       exit 66 (the job's own code)"),
        (
            {"exit_code": 75, "cause": "the machine's deadline has come"},
            "  ✗ job 3       exit 75  the machine's deadline has come",
        ),
        ({"state": JobState.LOST, "exit_code": None, "cause": "node lost", "ended": None},
         "  ✗ job 3       no exit code  node lost"),
    ],
)  # fmt: skip
def test_the_end_is_one_line(changes, told, capsys):
    """Its code, its first real cause, how long it ran."""
    follow.show_end(replace(STATUS, **changes))

    err = capsys.readouterr().err
    assert err.startswith(told)
    assert err.endswith(" 14.2 s\n") or changes.get("ended", 1) is None


@pytest.mark.parametrize(("left", "code"), [(timedelta(hours=1), 67), (timedelta(0), 75)])
def test_a_job_without_a_code_exits_by_what_ended_its_machine(left, code):
    """75 when it was the deadline."""
    cluster = SimpleNamespace(
        forge=SimpleNamespace(clock=SimpleNamespace(now=lambda: NOW)),
        record=SimpleNamespace(deadline=NOW + left),
    )

    assert follow.exit_code_of(replace(STATUS, exit_code=None), cluster) == code
    assert follow.exit_code_of(STATUS, cluster) == 137


def test_a_job_as_a_document():
    """Times in UTC, nodes with their own ends, and whose the code is."""
    data = follow.job_data(STATUS, "dev")

    assert data["exit_code_of"] == "job"
    ended = replace(STATUS, exit_code=75, cause="the machine's deadline has come")
    assert follow.job_data(ended, "dev")["exit_code_of"] == "gpuforge"
    assert data["ended"] == "2026-11-25T15:40:14Z"
    assert data["nodes"][0]["signal"] == 9
    waiting = follow.job_data(replace(STATUS, exit_code=None, started=None, ended=None, records=()), "dev")
    assert [waiting[name] for name in ("exit_code", "exit_code_of", "started", "ended", "nodes")] == [
        None, None, None, None, [],
    ]  # fmt: skip
