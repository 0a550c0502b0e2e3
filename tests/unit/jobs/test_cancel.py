"""Cancelling over nodes of which some do not answer."""

from __future__ import annotations

import pytest

from gpuforge.errors import ConnectError, JobError
from gpuforge.jobs.cancel import cancel
from gpuforge.jobs.launch import launch
from gpuforge.models.job import JobSpec, JobState
from gpuforge.testing.nodes import local_cluster, local_nodes


def refuse(*_args, **_options):
    raise ConnectError("no route to host")


def test_nodes_that_cannot_be_reached_hear_it_from_the_head(tmp_path, monkeypatch):
    nodes = local_nodes(tmp_path, 2)
    spec = JobSpec(job_id="job-1", name="n", setup="", run="sleep 60", grace_seconds=1)
    launch(nodes, spec, cluster=local_cluster(2, network="127.0.94"))

    monkeypatch.setattr(nodes[1].transport, "run", refuse)
    status = cancel(nodes, "job-1")
    monkeypatch.undo()

    assert status.state is JobState.CANCELLED
    assert cancel(nodes[1:], "job-1").state is JobState.CANCELLED


def test_a_job_nobody_knows_is_an_error(tmp_path):
    with pytest.raises(JobError, match="no job job-9"):
        cancel(local_nodes(tmp_path, 2), "job-9")


def test_when_no_node_answers_the_reason_is_raised(tmp_path, monkeypatch):
    (node,) = local_nodes(tmp_path, 1)
    monkeypatch.setattr(node.transport, "run", refuse)

    with pytest.raises(ConnectError):
        cancel([node], "job-1")
