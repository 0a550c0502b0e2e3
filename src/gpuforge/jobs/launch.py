"""Starting a job on every node of a cluster: one plan per node, the head first, all or nobody."""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, TypeVar

from gpuforge.errors import ConnectError, GpuforgeError, JobError
from gpuforge.jobs.launchers import wire
from gpuforge.jobs.launchers.plain import Gang
from gpuforge.jobs.logs import LogStream, Reconnect
from gpuforge.models.ids import slug
from gpuforge.node.client import GangSpec, NodeJob
from gpuforge.redact import Secret
from gpuforge.transport.fanout import each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpuforge.models.cluster import Cluster
    from gpuforge.models.job import JobSpec
    from gpuforge.node.client import Follow, NodeClient, Started

__all__ = ["launch", "plan_jobs", "run"]

_ATTEMPTS = 4
_Answer = TypeVar("_Answer")


def launch(nodes: Sequence[NodeClient], spec: JobSpec, *, cluster: Cluster) -> int:
    """Start the job everywhere and return its alias; what was started before is left as it is.

    Raises:
        JobError: A node could not start it; the others were told to stop.
    """
    jobs = plan_jobs(spec, cluster)
    head = nodes[0].start_job(jobs[0])
    if len(nodes) > 1:
        rest = _with_port(jobs[1:], head)
        _on_the_rest(nodes, rest, lambda node, job: node.start_job(job))
    return head.alias


def run(
    nodes: Sequence[NodeClient], spec: JobSpec, *, cluster: Cluster, reconnect: Reconnect | None = None
) -> LogStream:
    """Start the job everywhere and follow it: one round trip per node.

    Raises:
        JobError: A node could not start it; the others were told to stop.
        ConnectError: The head could not be reached.
    """
    jobs = plan_jobs(spec, cluster)
    policy = reconnect or Reconnect()
    head_follow, head = _open(nodes[0], jobs[0], policy)
    follows = [head_follow]
    if len(nodes) > 1:
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(head_follow.close)
            rest = _with_port(jobs[1:], head)
            opened = _on_the_rest(nodes, rest, lambda node, job: _open(node, job, policy))
            follows += [follow for follow, _ in opened]
            on_failure.pop_all()
    return LogStream(nodes, spec.job_id, follows=follows, alias=head.alias, reconnect=policy)


def plan_jobs(spec: JobSpec, cluster: Cluster, *, token: Secret | None = None) -> tuple[NodeJob, ...]:
    """What each node is told, in rank order; pure but for the gang's random token.

    Raises:
        SpecError: There is no such launcher.
    """
    gang = Gang(addresses=_addresses(cluster), ranks_per_node=cluster.ranks_per_node)
    several = gang.size > 1
    membership = (
        GangSpec(address=gang.head, token=token or Secret(secrets.token_hex(16))) if several else None
    )
    jobs = []
    for rank in range(gang.size):
        wiring = wire(spec.launcher, gang, rank)
        facts = _facts(spec, cluster, gang, rank)
        # a value the user set wins over a launcher's, never over the node's facts
        run_env = {name: value for name, value in wiring.env.items() if name not in spec.envs}
        jobs.append(
            NodeJob(
                spec=spec,
                rank=rank,
                num_nodes=gang.size,
                env=facts,
                setup_env=_skypilot(facts, "SKYPILOT_SETUP_"),
                run_env={**run_env, **_skypilot(facts, "SKYPILOT_"), "SKYPILOT_TASK_ID": spec.job_id},
                port_variables=tuple(name for name in wiring.port_variables if name not in spec.envs),
                checkpoints=slug(spec.name),
                gang=membership,
            )
        )
    return tuple(jobs)


def _addresses(cluster: Cluster) -> tuple[str, ...]:
    if len(cluster.nodes) == 1:
        return (cluster.head.address or "127.0.0.1",)
    missing = [str(node.rank) for node in cluster.nodes if not node.address]
    if missing:
        raise JobError(
            f"the address of node {', '.join(missing)} of {cluster.name} is not known",
            resolution=f"gpuforge status {cluster.name}  asks the cloud again",
        )
    return tuple(node.address for node in cluster.nodes)


def _facts(spec: JobSpec, cluster: Cluster, gang: Gang, rank: int) -> dict[str, str]:
    has_gpus = cluster.offering.accelerator is not None
    place = {"cloud": cluster.offering.provider, "region": cluster.offering.region}
    info = {"cluster_name": cluster.name, **place, "zone": cluster.offering.zone}
    return {
        "GPUFORGE_NODE_RANK": str(rank),
        "GPUFORGE_NUM_NODES": str(gang.size),
        "GPUFORGE_NODE_IPS": "\n".join(gang.addresses),
        "GPUFORGE_NUM_GPUS_PER_NODE": str(cluster.ranks_per_node if has_gpus else 0),
        "GPUFORGE_RUN_ID": spec.job_id,
        "GPUFORGE_ATTEMPT": "1",
        "SKYPILOT_CLUSTER_INFO": json.dumps(info),
    }


def _skypilot(facts: dict[str, str], prefix: str) -> dict[str, str]:
    names = ("NODE_RANK", "NUM_NODES", "NODE_IPS", "NUM_GPUS_PER_NODE")
    return {f"{prefix}{name}": facts[f"GPUFORGE_{name}"] for name in names}


def _with_port(jobs: Sequence[NodeJob], head: Started) -> list[NodeJob]:
    return [replace(job, gang=replace(job.gang, port=head.port)) if job.gang else job for job in jobs]


def _open(node: NodeClient, job: NodeJob, policy: Reconnect) -> tuple[Follow, Started]:
    """Start and follow; a connection that breaks before the answer is tried again: starting is idempotent."""
    delay = policy.first_delay_seconds
    for attempt in range(1, _ATTEMPTS + 1):
        with contextlib.ExitStack() as on_failure:
            follow = node.run_job(job)
            on_failure.callback(follow.close)
            try:
                started = follow.started()
            except ConnectError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                on_failure.pop_all()
                return follow, started
        policy.clock.sleep(delay)
        delay *= 2
    raise ConnectError(f"node {node.rank} did not answer")


def _on_the_rest(
    nodes: Sequence[NodeClient], jobs: Sequence[NodeJob], start: Callable[[NodeClient, NodeJob], _Answer]
) -> list[_Answer]:
    def one(pair: tuple[NodeClient, NodeJob]) -> _Answer | GpuforgeError:
        try:
            return start(*pair)
        except GpuforgeError as error:
            return error

    answers: list[_Answer] = []
    for rank, answer in enumerate(each(list(zip(nodes[1:], jobs, strict=True)), one), 1):
        if isinstance(answer, GpuforgeError):
            _call_off(nodes, jobs[0].spec.job_id, rank, answer)
        answers.append(answer)
    return answers


def _call_off(nodes: Sequence[NodeClient], job_id: str, rank: int, error: GpuforgeError) -> NoReturn:
    each(nodes, lambda node: _quietly_cancel(node, job_id))
    raise JobError(
        f"the job could not be started on node {rank}, so it was not started at all",
        details=str(error),
        resolution=error.resolution,
    ) from error


def _quietly_cancel(node: NodeClient, job_id: str) -> None:
    # a node that cannot be told hears it from the gang's head
    with contextlib.suppress(GpuforgeError):
        node.cancel(job_id, grace_seconds=0)
