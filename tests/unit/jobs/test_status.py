"""How the records of nodes become one state, one exit code and one cause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gpuforge.errors import ConnectError
from gpuforge.jobs.status import first_cause, job_status, list_jobs, merge
from gpuforge.models.job import ExitRecord, JobState
from gpuforge.node.client import NodeStatus
from gpuforge.testing.nodes import local_nodes

START = datetime(2026, 1, 1, tzinfo=UTC)


def record_of(
    rank: int, state: str, code: int | None, cause: str = "", *, at: int = 0, follows: bool = False
):
    return ExitRecord(
        rank=rank,
        state=JobState(state),
        exit_code=code,
        signal=None,
        phase="run",
        cause=cause,
        ended=START + timedelta(seconds=at),
        is_consequence=follows,
    )


def part_of(rank: int, state: str = "running", record: ExitRecord | None = None) -> NodeStatus:
    return NodeStatus(
        job_id="job-1",
        alias=4 + rank,
        name="n",
        rank=rank,
        state=record.state if record else JobState(state),
        phase="run",
        submitted=START + timedelta(seconds=rank),
        started=None if state == "queued" else START + timedelta(seconds=5 + rank),
        record=record,
        log_size=0,
    )


def merged(*records: ExitRecord, **options):
    return merge([part_of(record.rank, record=record) for record in records], **options)


def test_all_nodes_succeeding_is_success():
    status = merged(record_of(0, "succeeded", 0, at=3), record_of(1, "succeeded", 0, at=7))

    assert (status.state, status.exit_code, status.cause) == (JobState.SUCCEEDED, 0, "")
    assert (status.alias, status.submitted, status.started) == (4, START, START + timedelta(seconds=5))
    assert status.ended == START + timedelta(seconds=7)


def test_the_earliest_real_cause_gives_state_code_and_words():
    status = merged(
        record_of(0, "failed", 137, "node 1 failed: exit 3", at=1, follows=True),
        record_of(1, "failed", 3, "exit 3", at=5),
        record_of(2, "failed", 4, "exit 4", at=6),
    )

    assert (status.state, status.exit_code, status.cause) == (JobState.FAILED, 3, "node 1 failed: exit 3")


def test_one_node_is_not_named_on_a_cluster_of_one():
    assert merged(record_of(0, "failed", 3, "exit 3")).cause == "exit 3"


def test_a_lost_node_counts_137():
    status = merged(record_of(0, "lost", None, "the machine was rebooted"))

    assert (status.state, status.exit_code, status.cause) == (JobState.LOST, 137, "the machine was rebooted")


def test_a_cancelled_job_is_never_a_success():
    status = merged(record_of(0, "cancelled", 0, "cancelled"), record_of(1, "succeeded", 0))

    assert (status.state, status.exit_code, status.cause) == (JobState.CANCELLED, 137, "cancelled")


def test_a_job_is_where_its_slowest_node_is():
    assert merge([part_of(0, "running"), part_of(1, "queued")]).state is JobState.QUEUED
    assert merge([part_of(0, "running"), part_of(1, "waiting")]).state is JobState.WAITING


def test_a_job_of_which_one_node_has_ended_still_runs():
    status = merge([part_of(0, record=record_of(0, "succeeded", 0)), part_of(1, "waiting")])

    assert (status.state, status.exit_code, status.ended) == (JobState.RUNNING, None, None)


def test_a_node_that_does_not_answer_leaves_the_outcome_open():
    status = merged(record_of(0, "succeeded", 0), unreachable={1: "no route"})

    assert (status.state, status.cause) == (JobState.RUNNING, "node 1 does not answer")


def test_a_record_that_explains_the_missing_node_ends_the_job():
    gone = record_of(0, "failed", 137, "node 1 was lost", follows=True)

    status = merged(gone, unreachable={1: "no route"})

    assert (status.state, status.exit_code, status.cause) == (JobState.FAILED, 137, "node 1 was lost")


def test_no_failure_has_no_cause():
    assert first_cause([record_of(0, "succeeded", 0)]) is None


def test_when_no_node_answers_the_reason_is_raised(tmp_path, monkeypatch):
    nodes = local_nodes(tmp_path, 2)

    def refuse(*_args, **_options):
        raise ConnectError("no route to host")

    for node in nodes:
        monkeypatch.setattr(node.transport, "run", refuse)

    with pytest.raises(ConnectError):
        list_jobs(nodes)
    with pytest.raises(ConnectError):
        job_status(nodes[:1], "1")
