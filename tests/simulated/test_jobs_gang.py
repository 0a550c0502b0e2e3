"""Jobs on several nodes: they start together and fail together, with no client taking part."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gpuforge import jobs
from gpuforge.errors import ConnectError, JobError
from gpuforge.jobs.launch import plan_jobs
from gpuforge.models.job import JobSpec, JobState
from gpuforge.testing.nodes import eventually, local_cluster, local_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gpuforge.node.client import NodeClient

MY_RANK = "$GPUFORGE_NODE_RANK"


@pytest.fixture
def nodes(tmp_path) -> Iterator[Sequence[NodeClient]]:
    """Three nodes; whatever still runs there at the end is cancelled."""
    clients = local_nodes(tmp_path, 3)
    yield clients
    for client in clients:
        for job in client.status():
            client.cancel(job.job_id, grace_seconds=0)


def spec_of(run: str, **changes) -> JobSpec:
    return replace(JobSpec(job_id="job-1", name="gang", setup="", run=run, grace_seconds=2), **changes)


def job_folder(node: NodeClient, job_id: str = "job-1") -> Path:
    return node.transport.home / ".gpuforge" / "jobs" / job_id


def log_of(node: NodeClient) -> bytes:
    return (job_folder(node) / "log").read_bytes()


def begin(nodes: Sequence[NodeClient], spec: JobSpec) -> None:
    """Start and go away: no client takes part from here on."""
    jobs.launch(nodes, spec, cluster=local_cluster(len(nodes)))


def begin_impatient(nodes: Sequence[NodeClient], spec: JobSpec) -> None:
    """The same for a gang that gives a lost connection one second, and wait until all have printed ready."""
    plans = plan_jobs(spec, local_cluster(len(nodes)))
    port = None
    for node, plan in zip(nodes, plans, strict=True):
        hurried = replace(plan.gang, reconnect_seconds=1, port=port)
        port = node.start_job(replace(plan, gang=hurried)).port or port
    for node in nodes:
        eventually(lambda node=node: log_of(node) == b"ready\n")


def outcome(nodes: Sequence[NodeClient], job_id: str = "job-1"):
    return eventually(lambda: (s := jobs.job_status(nodes, job_id)).state.is_final and s)


def kill_supervisor(node: NodeClient) -> None:
    os.kill(json.loads((job_folder(node) / "pid.json").read_text())["pid"], signal.SIGKILL)


def test_every_node_runs_with_its_rank_and_the_same_port(nodes):
    run = f'echo {MY_RANK} $NODE_RANK $NNODES $MASTER_ADDR $MASTER_PORT $(echo "$GPUFORGE_NODE_IPS" | wc -l)'
    stream = jobs.run(nodes, spec_of(run), cluster=local_cluster(3))

    lines = sorted(chunk.data.decode().split() for chunk in stream if chunk.data)
    ports = {line[4] for line in lines}

    assert [line[:4] for line in lines] == [[str(r), str(r), "3", "127.0.91.1"] for r in range(3)]
    assert [line[5] for line in lines] == ["3", "3", "3"]
    assert len(ports) == 1
    assert not 32768 <= int(ports.pop()) <= 60999
    assert jobs.job_status(nodes, "1").state is JobState.SUCCEEDED


def test_nobody_runs_before_every_setup_is_done(nodes):
    setup = f"if [ {MY_RANK} = 2 ]; then while [ ! -e ~/go ]; do sleep 0.05; done; fi; echo prepared"
    begin(nodes, spec_of("echo running", setup=setup))
    wanted = [JobState.WAITING, JobState.WAITING, JobState.RUNNING]
    eventually(lambda: [job.state for node in nodes for job in node.status()] == wanted)

    before = jobs.job_status(nodes, "job-1").state
    logs_before = [log_of(node) for node in nodes[:2]]
    (nodes[2].transport.home / "go").touch()

    assert before is JobState.WAITING
    assert logs_before == [b"prepared\n", b"prepared\n"]
    assert outcome(nodes).state is JobState.SUCCEEDED
    assert log_of(nodes[1]) == b"prepared\nrunning\n"


def test_a_node_that_fails_ends_the_gang_and_is_named(nodes):
    begin(nodes, spec_of(f"if [ {MY_RANK} = 1 ]; then exit 3; fi; sleep 60"))

    status = outcome(nodes)
    others = [record for record in status.records if record.rank != 1]

    assert (status.state, status.exit_code, status.cause) == (JobState.FAILED, 3, "node 1 failed: exit 3")
    assert [(r.exit_code, r.is_consequence, r.cause) for r in others] == [
        (137, True, "node 1 failed: exit 3")
    ] * 2


def test_a_head_that_fails_ends_the_gang_and_is_named(nodes):
    begin(nodes, spec_of(f"if [ {MY_RANK} = 0 ]; then exit 5; fi; sleep 60"))

    status = outcome(nodes)

    assert (status.exit_code, status.cause) == (5, "node 0 failed: exit 5")


def test_a_setup_that_fails_on_one_node_ends_the_gang_and_is_named(nodes):
    setup = '[ "$SKYPILOT_SETUP_NODE_RANK" != 2 ]'
    begin(nodes, spec_of("echo never", setup=setup))

    status = outcome(nodes)

    assert (status.exit_code, status.cause) == (1, "node 2 failed: setup failed: exit 1")
    assert [log_of(node) for node in nodes] == [b"", b"", b""]


def test_a_lost_node_ends_the_gang_and_is_named_though_another_failed_for_want_of_it(nodes):
    # node 0 fails soon after node 1 vanished, as a trainer does whose peer is gone
    wait = "while [ ! -e ~/go ]; do sleep 0.02; done"
    run = f"echo ready; if [ {MY_RANK} = 0 ]; then {wait}; exit 1; fi; sleep 60"
    begin_impatient(nodes, spec_of(run))

    kill_supervisor(nodes[1])
    (nodes[0].transport.home / "go").touch()
    alone = eventually(lambda: nodes[0].status()[0].record)
    status = outcome(nodes)

    assert (alone.cause, alone.is_consequence) == ("node 1 was lost", True)
    assert status.state is JobState.LOST
    assert status.cause == "node 1 was lost: its supervisor was killed"


def test_a_lost_head_ends_the_gang_and_is_named(nodes):
    begin_impatient(nodes, spec_of("echo ready; sleep 60"))

    kill_supervisor(nodes[0])
    records = [eventually(lambda node=node: node.status()[0].record) for node in nodes[1:]]

    assert [(record.cause, record.exit_code) for record in records] == [("node 0 was lost", 137)] * 2


def test_cancel_on_one_node_ends_the_gang_as_cancelled(nodes):
    begin(nodes, spec_of("echo ready; sleep 60"))
    eventually(lambda: log_of(nodes[2]) == b"ready\n")

    nodes[2].cancel("job-1", 1)
    status = outcome(nodes)

    assert (status.state, status.cause) == (JobState.CANCELLED, "cancelled")


def test_a_gang_waits_for_its_turn_on_the_head(nodes):
    begin(nodes, spec_of("echo ready; while [ ! -e ~/go ]; do sleep 0.05; done; echo 1 >> ~/order"))
    begin(nodes, spec_of("echo 2 >> ~/order", job_id="job-2"))

    second = jobs.job_status(nodes, "job-2").state
    for node in nodes:
        (node.transport.home / "go").touch()

    assert second is JobState.QUEUED
    assert outcome(nodes, "job-2").state is JobState.SUCCEEDED
    assert [(node.transport.home / "order").read_text() for node in nodes] == ["1\n2\n"] * 3


def test_a_node_that_never_joins_is_named(nodes):
    spec = spec_of("echo never")
    plans = plan_jobs(spec, local_cluster(3))
    hurried = [replace(plan, gang=replace(plan.gang, start_seconds=3)) for plan in plans]
    started = nodes[0].start_job(hurried[0])
    nodes[1].start_job(replace(hurried[1], gang=replace(hurried[1].gang, port=started.port)))

    record = eventually(lambda: nodes[0].status()[0].record)

    assert record.cause == "node 2 did not join within 3 s"
    assert eventually(lambda: nodes[1].status()[0].record).cause == "node 2 did not join within 3 s"


def test_a_stranger_does_not_join(nodes):
    plans = plan_jobs(spec_of("echo never"), local_cluster(2))
    others = plan_jobs(spec_of("echo never"), local_cluster(2))
    hurried = [replace(plan, gang=replace(plan.gang, start_seconds=3)) for plan in (plans[0], others[1])]
    started = nodes[0].start_job(hurried[0])
    nodes[1].start_job(replace(hurried[1], gang=replace(hurried[1].gang, port=started.port)))

    assert eventually(lambda: nodes[0].status()[0].record).cause == "node 1 did not join within 3 s"
    assert "could not be reached" in eventually(lambda: nodes[1].status()[0].record).cause


def test_a_node_where_the_job_cannot_start_calls_it_off_everywhere(nodes):
    blocked = nodes[2].transport.home / ".gpuforge" / "jobs"
    blocked.parent.mkdir()
    blocked.write_text("a file where a folder must be")

    with pytest.raises(JobError, match="could not be started on node 2"):
        begin(nodes, spec_of("sleep 60"))
    with pytest.raises(JobError, match="could not be started on node 2"):
        jobs.run(nodes, spec_of("sleep 60", job_id="job-2"), cluster=local_cluster(3))

    blocked.unlink()
    states = [job.state for node in nodes for job in node.status()]
    assert states == [JobState.CANCELLED] * 4


def test_a_node_that_does_not_answer_is_told_apart_from_one_that_ended(nodes, monkeypatch):
    begin_impatient(nodes, spec_of("echo ready; sleep 60"))

    def refuse(*_args, **_options):
        raise ConnectError("no route to host")

    monkeypatch.setattr(nodes[1].transport, "run", refuse)
    before = jobs.job_status(nodes, "job-1")
    kill_supervisor(nodes[1])
    after = outcome(nodes)
    monkeypatch.undo()

    assert (before.state, before.cause) == (JobState.RUNNING, "node 1 does not answer")
    assert (after.exit_code, after.cause) == (137, "node 1 was lost")
