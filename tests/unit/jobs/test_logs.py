"""Streams of several nodes: merged, resumed, bounded, closed. Dropped clients are in ``tests/chaos``."""

from __future__ import annotations

import threading

import pytest

from gpuforge.errors import ConnectError, ProviderError
from gpuforge.jobs.launch import launch, run
from gpuforge.jobs.logs import LogStream, Reconnect, stream
from gpuforge.models.job import JobSpec, JobState
from gpuforge.testing.nodes import eventually, local_cluster, local_nodes


def spec_of(run_text: str, grace_seconds: int = 0) -> JobSpec:
    return JobSpec(job_id="job-1", name="n", setup="", run=run_text, grace_seconds=grace_seconds)


def test_two_nodes_arrive_each_exact_and_in_order(tmp_path):
    nodes = local_nodes(tmp_path, 2)
    text = "for i in $(seq 500); do echo $GPUFORGE_NODE_RANK $i; done"

    seen: dict[int, bytes] = {0: b"", 1: b""}
    for chunk in run(nodes, spec_of(text), cluster=local_cluster(2, network="127.0.95")):
        assert chunk.offset == len(seen[chunk.rank])
        seen[chunk.rank] += chunk.data

    assert seen == {rank: "".join(f"{rank} {i}\n" for i in range(1, 501)).encode() for rank in (0, 1)}


def test_a_stream_knows_alias_offsets_records_and_states(tmp_path):
    nodes = local_nodes(tmp_path, 1)
    launch(nodes, spec_of("echo hi"), cluster=local_cluster(1))

    followed = stream(nodes, "job-1")
    list(followed)

    assert followed.alias == 1
    assert followed.offsets == {0: 3}
    assert followed.records[0].state is JobState.SUCCEEDED
    assert followed.states[0].phase == "run"


def test_closing_a_stream_ends_its_threads_and_not_the_job(tmp_path):
    nodes = local_nodes(tmp_path, 2)
    followed = run(nodes, spec_of("yes", grace_seconds=1), cluster=local_cluster(2, network="127.0.96"))
    pieces = iter(followed)
    for _ in range(100):
        next(pieces)

    pieces.close()
    eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("logs-")])

    assert [node.status()[0].state for node in nodes] == [JobState.RUNNING] * 2
    for node in nodes:
        node.cancel("job-1")


def test_a_node_that_is_gone_is_given_up_once_the_others_explain_it(tmp_path, monkeypatch):
    nodes = local_nodes(tmp_path, 2)
    spec = spec_of("echo ready; sleep 60")
    launch(nodes, spec, cluster=local_cluster(2, network="127.0.97"))
    policy = Reconnect(straggler_seconds=0.2, first_delay_seconds=0.05)
    followed = LogStream(nodes, "job-1", reconnect=policy)

    def refuse(_argv):
        raise ConnectError("no route to host")

    monkeypatch.setattr(nodes[1].transport, "stream", refuse)
    threading.Timer(0.5, nodes[1].cancel, ["job-1", 0]).start()
    ranks = {chunk.rank for chunk in followed if chunk.data}

    assert ranks == {0}
    assert followed.records[0].is_consequence


def test_an_error_on_one_node_ends_the_merged_stream(tmp_path):
    nodes = local_nodes(tmp_path, 2)
    launch(nodes[:1], spec_of("sleep 60"), cluster=local_cluster(1))

    with pytest.raises(Exception, match="no job job-1"):
        list(stream(nodes, "job-1"))
    nodes[0].cancel("job-1")


class _Silent(LogStream):
    """A stream whose nodes never answer."""

    def _pieces(self, node):
        raise ConnectError("no route to host")
        yield


def silent(tmp_path, count, ended, clock):
    stream = _Silent(local_nodes(tmp_path, count), "job-1", reconnect=Reconnect(clock=clock))
    stream.ended = ended
    return stream


def test_a_silent_node_that_has_ended_by_its_clouds_word_is_not_waited_for(tmp_path, manual_clock):
    asked = []

    def ended(rank):
        asked.append(rank)
        return ProviderError("it has ended") if len(asked) == 3 else None

    with pytest.raises(ProviderError, match="it has ended"):
        list(silent(tmp_path, 1, ended, manual_clock))
    assert asked == [0, 0, 0]
    assert 1 <= sum(manual_clock.slept) < 30


def test_of_several_nodes_the_last_that_ended_says_why(tmp_path, manual_clock):
    with pytest.raises(ProviderError, match="has ended"):
        list(silent(tmp_path, 2, lambda rank: ProviderError(f"{rank} has ended"), manual_clock))
