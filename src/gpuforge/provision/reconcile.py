"""What the journal means and what the cloud has, brought together: ``gpuforge gc``, and what ``status`` asks.

An interrupted create or delete is brought to its end by :mod:`gpuforge.provision.redrive`; machines that the
journal does not know are judged by :mod:`gpuforge.provision.sweep`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from gpuforge.errors import ProviderError
from gpuforge.models.cluster import ClusterState
from gpuforge.models.instance import InstanceState, Selector
from gpuforge.models.progress import Step
from gpuforge.provision.context import again
from gpuforge.provision.hold import try_hold
from gpuforge.provision.redrive import finish, unsettled
from gpuforge.provision.removal import confirm_gone, gone_row, leave_nodes, remove
from gpuforge.provision.sweep import Stray, sweep
from gpuforge.state.locks import is_locked
from gpuforge.state.views import clusters, open_intents, tries

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from gpuforge.errors import Leftover
    from gpuforge.models.cluster import Cluster
    from gpuforge.models.instance import Disk, Instance, InstanceRef, Listing
    from gpuforge.provision.context import Context
    from gpuforge.provision.hold import Hold
    from gpuforge.state.journal import Journal
    from gpuforge.state.paths import Paths
    from gpuforge.state.views import Try

__all__ = ["ClusterStatus", "Finished", "GcReport", "collect", "needs_collect", "refresh"]

_SOON = 5.0  # seconds to wait for the cloud's word on what a list already shows as gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One cluster that ``gc`` brought to its end, and what was done, for a person."""

    cluster: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What ``gc`` did and saw.

    Attributes:
        finished: Intents and clusters it brought to their end.
        busy: Clusters another command is working on.
        strays: Machines of our owner that the journal does not know, with their deadlines.
        disks: Disks of our owner that stand alone.
        leftovers: What may still bill although it was asked to go.
        unknown_ids: Ids to delete that no stray has.
        complete: The whole cloud answered; ``warnings`` says which part did not.
    """

    finished: tuple[Finished, ...] = ()
    busy: tuple[str, ...] = ()
    strays: tuple[Stray, ...] = ()
    disks: tuple[Disk, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    unknown_ids: tuple[str, ...] = ()
    complete: bool = True
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """A cluster after asking the cloud.

    Attributes:
        cluster: As the journal now has it.
        instances: By rank; None where the cloud shows nothing under that id.
        server_time: The cloud's own time of the answer; None when there was none.
        unknown: Why the cloud could not say, or empty.
    """

    cluster: Cluster
    instances: tuple[Instance | None, ...]
    server_time: datetime | None = None
    unknown: str = ""


def needs_collect(journal: Journal, paths: Paths) -> tuple[Cluster, ...]:
    """Clusters whose intent is open although no live process works on them; no network."""
    return tuple(
        attempt.cluster for attempt in open_intents(journal) if not is_locked(paths, attempt.cluster.name)
    )


def collect(context: Context, *, delete_ids: Collection[str] = ()) -> GcReport:
    """Finish every open intent whose lock is free, learn what ended by itself, then sweep by owner label.

    Args:
        context: The cloud, the journal and what else is needed.
        delete_ids: Ids of machines the journal does not know that shall be deleted.

    Raises:
        StateError: The journal cannot be used.
        CredentialsError, PermissionDeniedError: The cloud lets nobody look.
    """
    finished: list[Finished] = []
    busy: list[str] = []
    leftovers: list[Leftover] = []
    for cluster in clusters(context.journal):
        if cluster.offering.provider != context.provider.name:
            continue
        context.progress(Step(key="gc", text=f"asking the cloud about {cluster.name}"))
        with try_hold(context, cluster.name, uuid=cluster.uuid, verb="gc") as held:
            if held is None:
                busy.append(cluster.name)
                continue
            outcome, left = _settle(held, cluster)
        leftovers += left
        if outcome and not left:
            finished.append(Finished(cluster=cluster.name, outcome=outcome))
    swept = sweep(context, delete_ids=delete_ids)
    leftovers += swept.leftovers
    if swept.complete and not leftovers:
        context.journal.accept()
    return GcReport(
        finished=tuple(finished),
        busy=tuple(busy),
        strays=swept.strays,
        disks=swept.disks,
        leftovers=tuple(leftovers),
        unknown_ids=swept.unknown_ids,
        complete=swept.complete,
        warnings=swept.warnings,
    )


def refresh(context: Context, known: Sequence[Cluster]) -> tuple[ClusterStatus, ...]:
    """Ask the cloud about ``known`` clusters, once; what it says is gone is written down.

    Never raises for the cloud's silence: ``ClusterStatus.unknown`` says it. A cluster that another command
    works on is left to it.

    Raises:
        StateError: The journal cannot be used.
    """
    asked = [cluster for cluster in known if cluster.offering.provider == context.provider.name]
    refs = tuple(node.ref for cluster in asked for node in cluster.nodes)
    try:
        listing = context.provider.list(Selector(refs=refs)) if refs else None
    except ProviderError as error:
        return tuple(_silent(cluster, error.brief) for cluster in known)
    return tuple(
        _silent(cluster, f"it is on {cluster.offering.provider}")
        if listing is None or cluster not in asked
        else _refreshed(context, cluster, listing)
        for cluster in known
    )


def _silent(cluster: Cluster, why: str) -> ClusterStatus:
    return ClusterStatus(cluster=cluster, instances=(None,) * len(cluster.nodes), unknown=why)


def _refreshed(context: Context, cluster: Cluster, listing: Listing) -> ClusterStatus:
    instances = _shown(cluster, listing)
    if cluster.state is ClusterState.READY and _missing(context.journal, cluster, listing):
        with try_hold(context, cluster.name, uuid=cluster.uuid, verb="status") as held:
            if held is not None:
                _record_gone(held, listing)
        cluster = _newest(context.journal, cluster.uuid).cluster
    return ClusterStatus(
        cluster=cluster,
        instances=instances,
        server_time=listing.server_time,
        unknown="" if listing.complete else "; ".join(listing.warnings),
    )


def _shown(cluster: Cluster, listing: Listing) -> tuple[Instance | None, ...]:
    by_name = {x.ref.name: x for x in listing.instances if x.state is not InstanceState.GONE}
    return tuple(by_name.get(node.ref.name) for node in cluster.nodes)


def _missing(journal: Journal, cluster: Cluster, listing: Listing) -> list[InstanceRef]:
    """Nodes of a ready cluster that a whole list does not show and that are not written down as gone."""
    if not listing.complete:
        return []
    shown = {x.ref.name for x in _shown(cluster, listing) if x is not None}
    return [ref for ref in _newest(journal, cluster.uuid).live_refs if ref.name not in shown]


def _newest(journal: Journal, uuid: str) -> Try:
    return tries(journal, uuid)[-1]


def _record_gone(held: Hold, listing: Listing) -> list[Leftover]:
    """GONE rows for the nodes of a ready cluster that ended by themselves; closes it when none is left."""
    context = held.context
    attempt = _newest(context.journal, held.uuid)
    if attempt.cluster.state is not ClusterState.READY:  # another command was quicker
        return []
    missing = _missing(context.journal, attempt.cluster, listing)
    gone, _ = confirm_gone(context, missing, seconds=_SOON)
    if len(gone) == len(attempt.live_refs):
        return _close(held, attempt, why="it ended by itself")
    rows = [gone_row(held, attempt, ref) for ref in gone]
    if rows:
        held.write(*rows)
    return []


def _close(held: Hold, attempt: Try, *, why: str) -> list[Leftover]:
    leftovers = remove(held, attempt, why=why)
    if not leftovers:
        leave_nodes(held.context, attempt.cluster.name)
    return leftovers


def _settle(held: Hold, cluster: Cluster) -> tuple[str, list[Leftover]]:
    """Bring one cluster of the journal to where the cloud has it; says what was done, if anything."""
    journal = held.context.journal
    current = _newest(journal, cluster.uuid)
    if current.cluster.state is ClusterState.READY:
        try:
            return _settle_ready(held, current)
        except ProviderError as error:
            return "", unsettled(current.live_refs, str(error))
    outcome = ""
    leftovers: list[Leftover] = []
    for attempt in tries(journal, cluster.uuid):
        if attempt.is_open:
            ended = finish(held, attempt, why="gc")
            outcome = ended.outcome
            leftovers += ended.leftovers
    if not leftovers:
        leave_nodes(held.context, cluster.name)
    return outcome, leftovers


def _settle_ready(held: Hold, attempt: Try) -> tuple[str, list[Leftover]]:
    """A cluster in use is left alone, unless the cloud ended it, or should have by now."""
    context, cluster = held.context, attempt.cluster
    listing = again(
        context, lambda: context.provider.list(Selector(refs=attempt.refs)), seconds=context.limits.call
    )
    if listing.server_time > cluster.deadline + timedelta(seconds=context.limits.lateness):
        return "its deadline had passed, and it was given back", _close(
            held, attempt, why="past its deadline"
        )
    if not _missing(context.journal, cluster, listing):
        return "", []
    leftovers = _record_gone(held, listing)
    ended = _newest(context.journal, cluster.uuid).cluster.state is not ClusterState.READY
    return "it had ended by itself" if ended else "", leftovers
