"""``logs`` prints what is there, the end of it, or stays until the job ended."""

from __future__ import annotations

import pytest


@pytest.fixture
def job(gpuforge, live) -> str:
    """A finished job with three lines, by its small number."""
    gpuforge("run", "-c", "dev", "--", "printf 'one\\ntwo\\nthree'; exit 7")
    return str(gpuforge("jobs", "--json").document["data"][-1]["alias"])


def test_the_newest_job_is_meant_when_none_is_named(gpuforge, job):
    """Byte for byte."""
    result = gpuforge("logs")

    assert (result.code, result.out, result.err) == (0, "one\ntwo\nthree", "")
    assert gpuforge("logs", job).out == "one\ntwo\nthree"


@pytest.mark.parametrize(
    ("count", "out"), [("0", ""), ("1", "three"), ("2", "two\nthree"), ("9", "one\ntwo\nthree")]
)
def test_the_tail_is_the_last_lines(count, out, gpuforge, job):
    """An unfinished one counts."""
    assert gpuforge("logs", job, "--tail", count).out == out


def test_following_ends_with_the_jobs_code(gpuforge, job):
    """And says that it failed; after a tail it goes on where that ended."""
    whole = gpuforge("logs", job, "-f")
    tail = gpuforge("logs", job, "-f", "--tail", "1")

    assert (whole.code, whole.out) == (7, "one\ntwo\nthree")
    assert (tail.code, tail.out) == (7, "three")
    assert f"  ✗ job {job} " in whole.err


def test_json_is_a_stream_then_the_document(gpuforge, job):
    """With and without following."""
    for argv in (
        ["logs", job, "--json"],
        ["logs", job, "--json", "-f"],
        ["logs", job, "--json", "--tail", "3"],
    ):
        events, document = gpuforge(*argv).stream
        texts = [event["text"] for event in events if event["event"] == "log"]
        assert texts == ["one", "two", "three"]
        assert document["data"]["exit_code"] == 7


def test_an_unknown_job_is_refused_with_those_there_are(gpuforge, job):
    """Exit 66."""
    result = gpuforge("logs", "9999")

    assert result.code == 66
    assert result.err.startswith("error: there is no job 9999 on dev\n  why  its jobs: 1")


def test_an_unknown_cluster_is_refused(gpuforge, live):
    """With the one that was meant."""
    result = gpuforge("logs", "-c", "dve")

    assert (result.code, result.err) == (
        66,
        ("error: no cluster 'dve' is up\n  why  did you mean 'dev'?\n"
        "  do   gpuforge status      lists what is up\n"),
    )  # fmt: skip
