"""Whether a machine that does not answer ever will: its cloud's word, as an error or as nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.errors import DeadlineError, GpuforgeError, ProviderError
from gpuforge.models.clock import rfc3339
from gpuforge.models.instance import InstanceState, Selector

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuforge.models.cluster import Cluster
    from gpuforge.models.instance import Listing
    from gpuforge.providers.base import Provider
    from gpuforge.provision.reconcile import ClusterStatus

__all__ = ["ended", "in_a_word"]

_OVER = {InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.DELETING, InstanceState.GONE}


def ended(load: Callable[[str], Provider], cluster: Cluster, rank: int) -> GpuforgeError | None:
    """Why a node will not answer again; None while it may, and where the cloud cannot say.

    Args:
        load: A provider by name.
        cluster: As the journal has it.
        rank: Which of its nodes.
    """
    try:
        listing = load(cluster.offering.provider).list(Selector(refs=(cluster.nodes[rank].ref,)))
    except ProviderError:
        return None
    told = _told(listing, cluster.nodes[rank].ref.name)
    if not told:
        return None
    past = listing.server_time >= cluster.deadline
    details = f"its deadline was {rfc3339(cluster.deadline)}" if past else f"its cloud says: {told}"
    kind = DeadlineError if past else ProviderError
    return kind(
        f"node {rank} of {cluster.name} has ended, and the job with it",
        details=details,
        resolution=f"gpuforge down {cluster.name}      then run again, on new machines",
    )


def _told(listing: Listing, name: str) -> str:
    found = [instance for instance in listing.instances if instance.ref.name == name]
    if not found:
        return "it is gone" if listing.complete else ""
    state, reason = found[0].state, found[0].reason
    return (f"{state}: {reason}" if reason else str(state)) if state in _OVER else ""


def in_a_word(status: ClusterStatus | None) -> str:
    """``running`` or what else the cloud says of a ready cluster: the worst of its nodes."""
    shown = [] if status is None or status.unknown else status.instances
    over = [None if instance is None else instance.state for instance in shown]
    worst = next((state for state in over if state is None or state in _OVER), InstanceState.RUNNING)
    return "gone" if worst is None else str(worst)
