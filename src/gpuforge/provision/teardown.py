"""Giving a cluster back: every attempt of it to its end, past every failure, and honest about leftovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.models.progress import Step
from gpuforge.provision.hold import hold
from gpuforge.provision.redrive import finish
from gpuforge.provision.removal import leave_nodes, still_billing
from gpuforge.state.views import tries

if TYPE_CHECKING:
    from gpuforge.errors import Leftover
    from gpuforge.models.cluster import Cluster
    from gpuforge.provision.context import Context

__all__ = ["delete_cluster"]


def delete_cluster(context: Context, cluster: Cluster) -> None:
    """Give every machine of ``cluster`` back; a second call on the same cluster does nothing.

    An intent whose answer nobody heard is sent again first, so that what it made has an id to delete.

    Raises:
        CleanupError: Something may still bill; all of it is listed.
        StateError: Another command holds the cluster, or the journal cannot be written.
    """
    with hold(context, cluster.name, uuid=cluster.uuid, verb="down") as held:
        leftovers: list[Leftover] = []
        for attempt in tries(context.journal, cluster.uuid):
            if attempt.is_open:
                leftovers += finish(held, attempt, why="down").leftovers
        leave_nodes(context, cluster.name)
    if leftovers:
        context.progress(Step(key="down", text=f"{cluster.name} may still bill", failed=True))
        raise still_billing(cluster.name, leftovers)
    context.progress(Step(key="down", text=f"{cluster.name} is gone, says its cloud", done=True))
