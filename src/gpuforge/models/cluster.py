"""Clusters: named nodes with one owner and one deadline."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from gpuforge.models.image import Image
    from gpuforge.models.instance import HostKey, HttpCall, InstanceRef, Route
    from gpuforge.models.offering import Offering

__all__ = ["Cluster", "ClusterState", "Node"]


class ClusterState(StrEnum):
    """Where a cluster stands, as the journal knows it."""

    CREATING = "creating"  # an intent is open
    READY = "ready"  # every node answered over SSH
    DELETING = "deleting"  # a delete was asked, not yet confirmed
    GONE = "gone"  # the cloud said so, for every node
    FAILED = "failed"  # nothing was created, the cloud said so


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One instance in its role; node 0 is the head.

    ``host_key``, ``route``, ``notice`` and ``self_delete`` are known once the node is ready.
    """

    rank: int
    ref: InstanceRef
    address: str = ""
    route: Route | None = None
    host_key: HostKey | None = None
    notice: HttpCall | None = None
    self_delete: HttpCall | None = None

    @property
    def alias(self) -> str:
        """The name its host key is pinned under: ``<provider>.<instance id>``."""
        return f"{self.ref.provider}.{self.ref.instance_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster, as derived from the journal.

    Attributes:
        uuid: Random, made with the cluster; enters every name.
        attempt: Which try of the gang this is; failover counts up.
        deadline: Absolute, enforced by the cloud.
        reserved_usd: Money set aside until the deadline; ``None`` when the price is unknown.
        ranks_per_node: Processes a launcher starts per node.
        simulated: Nothing is billed.
    """

    name: str
    uuid: str
    owner: str
    attempt: int
    state: ClusterState
    nodes: tuple[Node, ...]
    offering: Offering
    image: Image
    disk_gib: int
    labels: Mapping[str, str]
    created: datetime
    deadline: datetime
    usd_per_hour: Decimal | None
    reserved_usd: Decimal | None
    autostop_minutes: int | None
    ranks_per_node: int
    simulated: bool

    @property
    def head(self) -> Node:
        """Node 0."""
        return self.nodes[0]
