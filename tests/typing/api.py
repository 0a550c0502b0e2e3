"""Public signatures, checked by mypy and never run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import gpuforge as gf
from gpuforge.cost.ledger import Spent
from gpuforge.jobs.logs import LogStream
from gpuforge.models.cluster import Cluster as ClusterRecord
from gpuforge.models.instance import Check
from gpuforge.models.job import JobStatus
from gpuforge.models.offering import Offering
from gpuforge.models.progress import silent
from gpuforge.models.sync import SyncReport
from gpuforge.provision.reconcile import GcReport


def tasks() -> gf.Task:
    """From keywords, from a file, with values of other types where the file has them."""
    task = gf.Task(
        name="train", run="python train.py", workdir=".", num_nodes=2, envs={"A": "1"}, max_duration="6h",
        resources={"accelerators": "L4:1"}, outputs=["runs"],
    )  # fmt: skip
    assert_type(gf.Task.from_yaml("gpuforge.yaml", gpus="L4:1"), gf.Task)
    assert_type(gf.Task.from_yaml(Path("gpuforge.yaml")), gf.Task)
    assert_type(task.name, str | None)
    assert_type(task.num_nodes, int)
    assert_type(task.cluster_name(), str)
    assert_type(task.warnings, tuple[str, ...])
    gf.Task(nam="train")  # type: ignore[call-arg] # a misspelt key is found before anything runs
    return task


def forge(task: gf.Task) -> None:
    """Every public door of the façade."""
    plain = gf.Forge()
    full = gf.Forge(provider="fake", environ={}, progress=silent)
    assert_type(plain.plan(task), gf.Plan)
    assert_type(plain.plan(task, name="x").best.usd_per_hour, Decimal | None)
    assert_type(full.up(task), gf.Cluster)
    assert_type(full.reuse(task, name="x"), gf.Cluster | None)
    assert_type(full.run(task, name="x"), gf.Job)
    assert_type(full.down("x"), Spent)
    assert_type(full.clusters(refresh=False), tuple[ClusterRecord, ...])
    assert_type(full.cluster("x"), gf.Cluster)
    assert_type(full.is_up("x"), bool)
    assert_type(full.offerings(), tuple[Offering, ...])
    assert_type(full.checks(), tuple[Check, ...])
    assert_type(full.gc(delete_ids=["4711"]), GcReport)


def cluster(task: gf.Task) -> None:
    """A cluster gives itself back; what it starts is a job."""
    with gf.Forge().up(task) as rented:
        assert_type(rented, gf.Cluster)
        assert_type(rented.name, str)
        assert_type(rented.folder, Path)
        assert_type(rented.push(task), tuple[SyncReport, ...])
        assert_type(rented.push_path(Path("a"), "workdir/a"), tuple[SyncReport, ...])
        assert_type(rented.pull(["runs"], into="."), SyncReport)
        assert_type(rented.jobs(), Sequence[JobStatus])
        assert_type(rented.job("1"), gf.Job)
        assert_type(rented.start(task, setup=False), gf.Job)
        job(rented.run(task))


def job(running: gf.Job) -> None:
    """A job is followed by lines or by bytes, asked, waited for, ended."""
    assert_type(running.logs(follow=True), Iterator[str])
    assert_type(running.chunks(offsets={0: 10}), LogStream)
    assert_type(running.status(), JobStatus)
    assert_type(running.wait().exit_code, int | None)
    assert_type(running.cancel(grace_seconds=5), JobStatus)


def errors(error: gf.GpuforgeError) -> None:
    """Three parts, a stable code, and kinds that narrow."""
    assert_type(error.brief, str)
    assert_type(error.details, str)
    assert_type(error.resolution, str)
    assert_type(error.code, str)
    assert_type(error.exit_code, int)
    try:
        gf.Forge().up(tasks())
    except gf.ProvisionError as failure:
        assert_type(failure.attempts[0].reason, str)
    except gf.CapacityError as failure:
        assert_type(failure, gf.CapacityError)
    assert_type(gf.Secret("x").reveal(), str)
