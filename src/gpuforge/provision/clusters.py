"""Which cluster is meant, whether a live one fits a task, and how one is told in a line."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from gpuforge.catalog.accelerators import UnknownAccelerator, lookup
from gpuforge.errors import NotFoundError, PolicyError
from gpuforge.models.clock import rfc3339
from gpuforge.models.cluster import ClusterState
from gpuforge.spec.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuforge.models.cluster import Cluster
    from gpuforge.models.resources import Need
    from gpuforge.spec.task import Task

__all__ = ["choose", "describe", "hardware", "misfits", "reuse"]


def choose(clusters: Sequence[Cluster], name: str | None) -> Cluster:
    """The cluster of that name, or the only one there is.

    Raises:
        NotFoundError: None, or several and no name.
    """
    if name is None:
        if len(clusters) == 1:
            return clusters[0]
        names = ", ".join(cluster.name for cluster in clusters)
        raise NotFoundError(
            "no cluster is up" if not clusters else f"{len(clusters)} clusters are up: which one?",
            details=names,
            resolution="gpuforge up" if not clusters else f"name it:  -c {clusters[0].name}",
        )
    for cluster in clusters:
        if cluster.name == name:
            return cluster
    near = difflib.get_close_matches(name, [cluster.name for cluster in clusters], n=1)
    raise NotFoundError(
        f"no cluster {name!r} is up",
        details=f"did you mean {near[0]!r}?" if near else "",
        resolution="gpuforge status      lists what is up",
    )


def reuse(cluster: Cluster, task: Task) -> Cluster:
    """The live cluster itself, if ``task`` fits on it.

    Raises:
        PolicyError: It lives and does not fit, or its deletion is under way.
    """
    if cluster.state is not ClusterState.READY:
        raise PolicyError(
            f"cluster {cluster.name} is {cluster.state}, not ready",
            details="another command is at work on it, or one was interrupted",
            resolution=f"gpuforge gc      finishes it; or  gpuforge down {cluster.name}",
        )
    reasons = misfits(cluster, task)
    if reasons:
        raise PolicyError(
            f"cluster {cluster.name} is up and does not fit this task",
            details="\n".join(reasons),
            resolution=f"another name:  -c {cluster.name}-2      or first  gpuforge down {cluster.name}",
        )
    return cluster


def misfits(cluster: Cluster, task: Task) -> list[str]:
    """Why ``task`` does not fit on ``cluster``; empty when it does."""
    reasons = []
    if task.num_nodes != len(cluster.nodes):
        reasons.append(f"it has {counted(len(cluster.nodes), 'node')}, the task wants {task.num_nodes}")
    if task.provider is not None and task.provider != cluster.offering.provider:
        reasons.append(f"it is on {cluster.offering.provider}, the task wants {task.provider}")
    needs = task.needs().alternatives
    problems = [_misfit(cluster, need) for need in needs]
    if all(problems):
        reasons.append(next(problem for problem in problems if problem))
    return reasons


def _misfit(cluster: Cluster, need: Need) -> str:
    offering = cluster.offering
    has = offering.accelerator
    if need.accelerators and not any(_carries(cluster, want.name, want.count) for want in need.accelerators):
        wanted = " or ".join(str(want) for want in need.accelerators)
        return f"it has {has or 'no GPU'}, the task wants {wanted}"
    if need.instance_type not in (None, offering.instance_type):
        return f"it is a {offering.instance_type}, the task wants {need.instance_type}"
    if need.region not in (None, offering.region) or need.zone not in (None, offering.zone):
        return f"it is in {offering.zone}, the task wants {need.zone or need.region}"
    if need.cpus is not None and not need.cpus.admits(offering.vcpus):
        return f"it has {offering.vcpus} vCPUs, the task wants {need.cpus}"
    if need.memory_gib is not None and not need.memory_gib.admits(offering.memory_gib):
        return f"it has {offering.memory_gib} GiB, the task wants {need.memory_gib}"
    return ""


def _carries(cluster: Cluster, name: str, count: int) -> bool:
    has = cluster.offering.accelerator
    if has is None:
        return False
    try:
        return lookup(name).name == has.name and count <= has.count
    except UnknownAccelerator:
        return False


def describe(cluster: Cluster) -> str:
    """``train: 1 × L4 on fake/sim-central1-a, ready, ends 2026-11-25T21:40:00Z``."""
    where = f"{cluster.offering.provider}/{cluster.offering.zone}"
    return (
        f"{cluster.name}: {hardware(cluster)} on {where}, {cluster.state}, ends {rfc3339(cluster.deadline)}"
    )


def hardware(cluster: Cluster) -> str:
    """``2 × A100:8``, or the instance type where there is no GPU."""
    has = cluster.offering.accelerator
    kind = cluster.offering.instance_type if has is None else has.name if has.count == 1 else str(has)
    return f"{len(cluster.nodes)} × {kind}"
