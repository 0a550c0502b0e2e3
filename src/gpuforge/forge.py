"""The façade, and the way of the data: plan, provision, sync, jobs, outputs, teardown.

Each stage takes a value and returns a value; this module composes them and holds no logic of its own.
"""

from __future__ import annotations

import os
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gpuforge import jobs, provision, sync
from gpuforge.cost.ledger import Spent, spent
from gpuforge.models.clock import Clock, SystemClock
from gpuforge.models.progress import Progress, silent
from gpuforge.providers import registry
from gpuforge.spec.settings import Settings, load_settings
from gpuforge.state import views
from gpuforge.state.journal import Journal
from gpuforge.state.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

    from gpuforge.images.select import ImageRow
    from gpuforge.jobs.logs import LogStream
    from gpuforge.models.cluster import Cluster as ClusterRecord
    from gpuforge.models.instance import Check
    from gpuforge.models.job import JobStatus, Runnable
    from gpuforge.models.offering import Offering
    from gpuforge.models.plan import Plan
    from gpuforge.models.sync import SyncReport
    from gpuforge.node.client import NodeClient
    from gpuforge.providers.base import Provider
    from gpuforge.provision.context import Context
    from gpuforge.provision.reconcile import GcReport
    from gpuforge.spec.task import Task

__all__ = ["Cluster", "Forge", "Job"]


class Forge:
    """Rents machines, runs tasks on them, gives them back.

    Args:
        provider: Wins over the task's and the settings' provider.
        progress: Called with each step of long work.
        environ: Stands for ``os.environ``.
        clock: Stands for the computer's.
    """

    def __init__(
        self,
        *,
        provider: str | None = None,
        progress: Progress = silent,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        self.paths = Paths.from_environment(self.environ)
        self.clock = clock or SystemClock()
        self.progress = progress
        self._flags = {"provider": provider} if provider else {}
        self.seen: dict[str, provision.ClusterStatus] = {}  # what clouds last said, by cluster uuid

    @cached_property
    def settings(self) -> Settings:
        """Settings, each with where it came from."""
        return load_settings(self.paths, environ=self.environ, cwd=Path.cwd(), flags=self._flags)

    @cached_property
    def journal(self) -> Journal:
        """What gpuforge intends and did: the truth about intentions."""
        return Journal.open(self.paths.journal, head_path=self.paths.journal_head, clock=self.clock)

    def provider(self, name: str | None = None) -> Provider:
        """An adapter by name; the settings' without one."""
        environ = {**self.environ, **self.settings.provider_environ()}
        chosen = name or self.settings.provider
        return registry.load(chosen, paths=self.paths, clock=self.clock, environ=environ)

    def plan(self, task: Task, *, name: str | None = None) -> Plan:
        """What would be rented, in which order, at what price; costs and changes nothing."""
        return provision.make_plan(
            task.in_region(self.settings.region),
            provider=self.provider(self._flags.get("provider") or task.provider),
            cluster_name=name or task.cluster_name(),
            max_duration=task.max_duration or self.settings.max_duration,
            autostop_minutes=task.autostop_or(self.settings.autostop_minutes),
            clock=self.clock,
            stockouts=provision.Stockouts(self.paths.stockouts, self.clock).known(),
        )

    def up(self, task: Task, *, name: str | None = None, plan: Plan | None = None) -> Cluster:
        """A ready cluster for ``task``: the live one of that name where it fits, else a new one.

        Raises:
            PolicyError: A cluster of that name lives and does not fit.
            ProvisionError: Every offering was tried.
        """
        name = name or (plan.cluster_name if plan else task.cluster_name())
        if (live := self.reuse(task, name=name)) is not None:
            return live
        plan = plan or self.plan(task, name=name)
        context = self._context(plan.provider)
        return self._watched(context, provision.create_cluster(context, plan, labels=task.labels))

    def reuse(self, task: Task, *, name: str) -> Cluster | None:
        """The live cluster of that name, by its cloud's word; where ``task`` does not fit, a PolicyError."""
        context = self._context(self._flags.get("provider") or task.provider)
        if provision.needs_collect(self.journal, self.paths):
            provision.collect(context)
        live = next((c for c in self.clusters() if c.name == name), None) if self.is_up(name) else None
        return None if live is None else self._watched(context, provision.reuse(live, task))

    def _watched(self, context: Context, record: ClusterRecord) -> Cluster:
        cluster = Cluster(self, record)
        provision.ensure_watchers(context, record, clients=cluster.nodes)
        return cluster

    def run(self, task: Task, *, name: str | None = None, plan: Plan | None = None) -> Job:
        """Up if needed, copy, start: the job runs on whether or not this process does."""
        return self.up(task, name=name, plan=plan).run(task)

    def down(self, name: str) -> Spent:
        """Give a cluster back; returns once the cloud says that it is gone, with what it cost.

        Raises:
            NotFoundError: No live cluster of that name.
            CleanupError: Something may still bill.
        """
        cluster = self.cluster(name).record
        provision.delete_cluster(self._context(cluster.nodes[0].ref.provider), cluster)
        return spent(self.journal, cluster, now=self.clock.now())

    def clusters(self, *, refresh: bool = True) -> tuple[ClusterRecord, ...]:
        """Live clusters as the journal knows them; ``refresh`` asks their clouds first."""
        known = views.clusters(self.journal) if self.paths.journal.exists() else ()
        for provider in sorted({cluster.nodes[0].ref.provider for cluster in known if refresh}):
            self.seen |= {x.cluster.uuid: x for x in provision.refresh(self._context(provider), known)}
        return views.clusters(self.journal) if known and refresh else known

    def cluster(self, name: str | None = None) -> Cluster:
        """A live cluster by name; without one, the only one there is.

        Raises:
            NotFoundError: None, or several to choose from.
        """
        return Cluster(self, provision.choose(self.clusters(refresh=False), name))

    def spent(self, cluster: ClusterRecord) -> Spent:
        """What a cluster cost until now, from the journal's own times."""
        return spent(self.journal, cluster, now=self.clock.now())

    def is_up(self, name: str) -> bool:
        """Whether a cluster of that name may be costing money, as the journal knows it."""
        return any(cluster.name == name for cluster in self.clusters(refresh=False))

    def offerings(self, provider: str | None = None) -> tuple[Offering, ...]:
        """Everything the provider sells; without a name, every installed one and the shipped tables."""
        return provision.all_offerings(self.provider, provider)

    def image_rows(self, provider: str | None = None, text: str = "") -> tuple[tuple[str, ImageRow], ...]:
        """Provider and image, by the same rule; ``text`` keeps those that contain it."""
        return provision.all_image_rows(self.provider, provider, text, today=self.clock.now().date())

    def checks(self, name: str | None = None) -> tuple[Check, ...]:
        """Whether gpuforge can work here, and a provider for it."""
        return provision.all_checks(self.settings, self.paths, self.clock, self.provider(name))

    def gc(self, *, provider: str | None = None, delete_ids: Sequence[str] = ()) -> GcReport:
        """Finish what interrupted commands began; report machines that the journal does not know."""
        return provision.collect(self._context(provider), delete_ids=delete_ids)

    def _context(self, provider: str | None) -> Context:
        return provision.Context(
            provider=self.provider(provider), journal=self.journal, paths=self.paths, clock=self.clock,
            owner=self.settings.owner, progress=self.progress, engine=self.settings.ssh_engine,
            heartbeat_seconds=self.settings.heartbeat_seconds,
        )  # fmt: skip


class Cluster:
    """Live machines; as a context manager it gives them back, also on an error."""

    def __init__(self, forge: Forge, record: ClusterRecord) -> None:
        self.forge = forge
        self.record = record

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.record.name

    @property
    def folder(self) -> Path:
        """``ssh_config``, keys and manifests of this cluster."""
        return self.forge.paths.cluster(self.name)

    @cached_property
    def nodes(self) -> Sequence[NodeClient]:
        """A client per node, in rank order; each connects when first used."""
        return provision.node_clients(self.record, self.forge.paths, engine=self.forge.settings.ssh_engine)

    def run(self, task: Task) -> Job:
        """Copy what ``task`` needs, then start it."""
        self.push(task)
        return self.start(task)

    def push(self, task: Task) -> tuple[SyncReport, ...]:
        """Copy workdir and file mounts to every node; only what changed travels."""
        return self._push(sync.task_roots(task))

    def push_path(self, local: Path, remote: str) -> tuple[SyncReport, ...]:
        """Copy one file or folder to ``remote`` below the home of every node."""
        return self._push((sync.Root(local=local.absolute(), remote=remote, rules="mount"),))

    def _push(self, roots: tuple[sync.Root, ...]) -> tuple[SyncReport, ...]:
        return sync.deliver(self.nodes, roots, folder=self.folder, progress=self.forge.progress)

    def start(self, task: Runnable, *, setup: bool = True, needs: timedelta | None = None) -> Job:
        """Start ``task`` as a job on every node, without copying; ``needs`` is the time it wants.

        Raises:
            DeadlineError: That does not fit before the machines' deadline.
        """
        spec = jobs.job_spec(task, cluster=self.record, now=self.forge.clock.now(), setup=setup, needs=needs)
        return Job(self, spec.job_id, jobs.run(self.nodes, spec, cluster=self.record))

    def pull(self, patterns: Sequence[str], *, into: Path | str, workdir: str = "workdir") -> SyncReport:
        """Bring files of the head's workdir back; a local file that changed since is kept."""
        return sync.pull(
            self.nodes[0], patterns, workdir=workdir, into=Path(into), folder=self.folder,
            progress=self.forge.progress,
        )  # fmt: skip

    def jobs(self) -> Sequence[JobStatus]:
        """Every job this cluster has seen, oldest first."""
        return jobs.list_jobs(self.nodes)

    def job(self, which: str | None = None) -> Job:
        """A job by id or small number, or the newest; a JobError where there is no such."""
        return Job(self, jobs.find(self.jobs(), which, cluster=self.name).job_id)

    def down(self) -> Spent:
        """Give the machines back."""
        return self.forge.down(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.down()

    def __repr__(self) -> str:
        return f"Cluster {provision.describe(self.record)}"


class Job:
    """One execution of a task on a cluster; it runs on whether or not anyone looks."""

    def __init__(self, cluster: Cluster, job_id: str, stream: LogStream | None = None) -> None:
        self.cluster = cluster
        self.job_id = job_id
        self._stream = stream  # opened by the start itself: one round trip less

    def chunks(self, *, follow: bool = True, offsets: Mapping[int, int] | None = None) -> LogStream:
        """Output as ``(rank, offset, bytes)``, each byte exactly once, over dropped connections too."""
        stream, self._stream = self._stream, None
        if stream is None or not follow or offsets is not None:
            stream = jobs.stream(self.cluster.nodes, self.job_id, follow=follow, offsets=offsets)
        stream.ended = partial(provision.ended, self.cluster.forge.provider, self.cluster.record)
        return stream

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Output by lines, newline kept; several nodes are told apart as ``[rank] …``."""
        return jobs.lines(self.chunks(follow=follow), prefix=len(self.cluster.nodes) > 1)

    def status(self) -> JobStatus:
        """Where it stands, over all nodes."""
        return jobs.job_status(self.cluster.nodes, self.job_id)

    def wait(self) -> JobStatus:
        """Block until it ended."""
        for _ in self.chunks():
            pass
        return self.status()

    def cancel(self, *, grace_seconds: int | None = None) -> JobStatus:
        """End it and everything it started."""
        return jobs.cancel(self.cluster.nodes, self.job_id, grace_seconds=grace_seconds)

    def __repr__(self) -> str:
        return f"Job {self.job_id} on {self.cluster.name}"
