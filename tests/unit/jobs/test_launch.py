"""What each node is told when a job starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuforge.errors import ConnectError, JobError
from gpuforge.jobs.launch import launch, plan_jobs, run
from gpuforge.jobs.logs import Reconnect
from gpuforge.models.job import JobSpec
from gpuforge.models.resources import Accelerator
from gpuforge.redact import Secret
from gpuforge.testing.nodes import local_cluster, local_nodes

TOKEN = Secret("a-token-of-tests")


def spec_of(run_text: str = "true", **changes) -> JobSpec:
    return replace(JobSpec(job_id="job-1", name="Näme of it", setup="", run=run_text), **changes)


def test_every_node_gets_its_rank_and_the_same_facts():
    plans = plan_jobs(spec_of(), local_cluster(3, network="127.0.93"), token=TOKEN)

    assert [plan.rank for plan in plans] == [0, 1, 2]
    assert [plan.env["GPUFORGE_NODE_RANK"] for plan in plans] == ["0", "1", "2"]
    assert {plan.env["GPUFORGE_NODE_IPS"] for plan in plans} == {"127.0.93.1\n127.0.93.2\n127.0.93.3"}
    assert {plan.gang.address for plan in plans} == {"127.0.93.1"}


def test_skypilots_names_stand_in_their_phase_alone():
    (plan,) = plan_jobs(spec_of(), local_cluster(1))

    assert plan.setup_env["SKYPILOT_SETUP_NODE_RANK"] == "0"
    assert plan.run_env["SKYPILOT_NODE_RANK"] == "0"
    assert plan.run_env["SKYPILOT_TASK_ID"] == "job-1"
    assert not [name for name in plan.run_env if "SETUP" in name]


def test_gpus_are_counted_only_where_there_are_any():
    cluster = local_cluster(1, ranks_per_node=2)
    accelerator = Accelerator(name="L4", count=2, memory_gib=24)
    with_gpus = replace(cluster, offering=replace(cluster.offering, accelerator=accelerator))

    counts = [plan_jobs(spec_of(), one)[0].env["GPUFORGE_NUM_GPUS_PER_NODE"] for one in (cluster, with_gpus)]

    assert counts == ["0", "2"]


def test_a_value_of_the_user_wins_over_the_launchers():
    spec = spec_of(launcher="torchrun", envs={"MASTER_PORT": "1234", "PET_NPROC_PER_NODE": "7"})

    plan = plan_jobs(spec, local_cluster(2))[0]

    assert plan.port_variables == ("PET_MASTER_PORT",)
    assert "PET_NPROC_PER_NODE" not in plan.run_env


def test_gangs_do_not_share_a_token():
    tokens = {plan_jobs(spec_of(), local_cluster(2))[0].gang.token.reveal() for _ in range(3)}

    assert len(tokens) == 3


def test_a_cluster_whose_addresses_are_not_known_cannot_start_a_gang():
    cluster = local_cluster(2)
    blind = replace(cluster, nodes=(cluster.nodes[0], replace(cluster.nodes[1], address="")))

    with pytest.raises(JobError, match="address of node 1"):
        plan_jobs(spec_of(), blind)


def test_launching_answers_with_the_alias_and_is_idempotent(tmp_path):
    nodes = local_nodes(tmp_path, 1)

    aliases = [launch(nodes, spec_of(), cluster=local_cluster(1)) for _ in range(2)]

    assert aliases == [1, 1]
    assert not any(chunk.data for chunk in run(nodes, spec_of(), cluster=local_cluster(1)))


def test_a_connection_that_drops_before_the_answer_is_tried_again(tmp_path, monkeypatch, manual_clock):
    nodes = local_nodes(tmp_path, 1)
    nodes[0].ensure()
    stream = nodes[0].transport.stream
    failures = iter([True, True, False])

    def flaky(argv):
        if next(failures):
            raise ConnectError("reset by peer")
        return stream(argv)

    monkeypatch.setattr(nodes[0].transport, "stream", flaky)
    output = run(nodes, spec_of("echo hi"), cluster=local_cluster(1), reconnect=Reconnect(clock=manual_clock))

    assert b"".join(chunk.data for chunk in output) == b"hi\n"
    assert manual_clock.slept == [0.2, 0.4]


def test_a_node_that_never_answers_is_a_connect_error(tmp_path, monkeypatch, manual_clock):
    nodes = local_nodes(tmp_path, 1)

    def refuse(_argv):
        raise ConnectError("no route to host")

    monkeypatch.setattr(nodes[0].transport, "stream", refuse)

    with pytest.raises(ConnectError, match="no route"):
        run(nodes, spec_of(), cluster=local_cluster(1), reconnect=Reconnect(clock=manual_clock))
