"""What the journal's rows amount to: clusters, open intents, reservations. Derived, so rebuildable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpuforge.errors import StateError
from gpuforge.models.cluster import Cluster, ClusterState, Node
from gpuforge.models.ids import rank_of
from gpuforge.models.instance import InstanceRef
from gpuforge.state import codec
from gpuforge.state.journal import RowKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from gpuforge.models.instance import PreparedCreate
    from gpuforge.state.journal import Journal, Row

__all__ = [
    "Reservation",
    "Try",
    "clusters",
    "find_cluster",
    "history",
    "open_intents",
    "ready_body",
    "reservations",
    "tries",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt at a gang: what was asked, and how far it came.

    Attributes:
        cluster: The cluster as this attempt left it.
        prepared: The exact words of the create.
        intent: The label ``gf-intent`` that its instances and disks carry.
        acked: The cloud took the create.
        gone: Names the cloud said are gone.
        is_open: Its reservation is not released.
    """

    cluster: Cluster
    prepared: PreparedCreate
    intent: str
    acked: bool
    gone: frozenset[str]
    is_open: bool

    @property
    def refs(self) -> tuple[InstanceRef, ...]:
        """One per node, with ids as far as they are known."""
        return tuple(node.ref for node in self.cluster.nodes)

    @property
    def live_refs(self) -> tuple[InstanceRef, ...]:
        """The references without word that they are gone."""
        return tuple(ref for ref in self.refs if ref.name not in self.gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Money set aside for one attempt until its deadline; ``usd`` is None when the price is unknown."""

    cluster: str
    attempt: int
    usd: Decimal | None
    until: datetime


def tries(journal: Journal, uuid: str) -> tuple[Try, ...]:
    """Every attempt of one cluster, oldest first.

    Raises:
        StateError: A row of it cannot be read.
    """
    by_attempt: dict[int, list[Row]] = {}
    for row in journal.rows(uuid):
        if row.kind is not RowKind.LEASE:
            by_attempt.setdefault(row.attempt, []).append(row)
    return tuple(_try(rows) for _, rows in sorted(by_attempt.items()))


def clusters(journal: Journal, *, include_gone: bool = False) -> tuple[Cluster, ...]:
    """Clusters that may still cost money, oldest first; with ``include_gone`` every one there ever was."""
    found = (tries(journal, uuid) for uuid in journal.cluster_uuids(include_closed=include_gone))
    return tuple(_standing(attempts).cluster for attempts in found)


def find_cluster(journal: Journal, name: str) -> Cluster | None:
    """The cluster of that name that may still cost money, or None."""
    return next((cluster for cluster in reversed(clusters(journal)) if cluster.name == name), None)


def open_intents(journal: Journal) -> tuple[Try, ...]:
    """Attempts that were begun and neither reached READY nor were closed, or whose deletion was begun."""
    unfinished = (ClusterState.CREATING, ClusterState.DELETING)
    return tuple(
        attempt
        for uuid in journal.cluster_uuids()
        for attempt in tries(journal, uuid)
        if attempt.is_open and attempt.cluster.state in unfinished
    )


def reservations(journal: Journal) -> tuple[Reservation, ...]:
    """What is set aside now."""
    return tuple(
        Reservation(
            cluster=attempt.cluster.uuid,
            attempt=attempt.cluster.attempt,
            usd=attempt.cluster.reserved_usd,
            until=attempt.cluster.deadline,
        )
        for uuid in journal.cluster_uuids()
        for attempt in tries(journal, uuid)
        if attempt.is_open
    )


def history(journal: Journal, name: str) -> tuple[Row, ...]:
    """Every row of every cluster that bore this name, in order."""
    found: list[Row] = []
    for uuid in journal.cluster_uuids(include_closed=True):
        rows = journal.rows(uuid)
        if any(row.kind is RowKind.INTENT and row.body.get("name") == name for row in rows):
            found.extend(rows)
    return tuple(sorted(found, key=lambda row: row.seq))


def ready_body(nodes: Sequence[Node], *, ranks_per_node: int) -> dict[str, Any]:
    """The body of a READY row."""
    return {
        "ranks": ranks_per_node,
        "nodes": [
            {
                "ref": codec.ref_to_json(node.ref),
                "address": node.address,
                "route": node.route and codec.route_to_json(node.route),
                "host_key": node.host_key and codec.host_key_to_json(node.host_key),
                "notice": codec.http_call_to_json(node.notice),
                "self_delete": codec.http_call_to_json(node.self_delete),
            }
            for node in nodes
        ],
    }


def _standing(attempts: Sequence[Try]) -> Try:
    """The attempt that speaks for its cluster: an open one before a closed one, then the newest."""
    return max(attempts, key=lambda attempt: (attempt.is_open, attempt.cluster.attempt))


def _try(rows: Sequence[Row]) -> Try:
    try:
        return _read(rows)
    except codec.DAMAGED as error:
        raise StateError(
            f"the journal's rows {rows[0].seq} to {rows[-1].seq} do not describe a cluster",
            details=repr(error),
            resolution="gpuforge audit verify  names the first bad row",
        ) from error


def _read(rows: Sequence[Row]) -> Try:
    by_kind = {row.kind: row for row in rows}  # the last of each kind
    intent = by_kind[RowKind.INTENT]
    prepared = codec.prepared_from_json(intent.body["prepared"])
    gone = frozenset(row.node for row in rows if row.kind is RowKind.GONE)
    ready = by_kind.get(RowKind.READY)
    nodes = _nodes(prepared, rows) if ready is None else tuple(map(_ready_node, ready.body["nodes"]))
    cluster = _cluster(intent, prepared, nodes)
    cluster = replace(
        cluster,
        state=_state(by_kind, all_gone=gone >= set(prepared.names)),
        reserved_usd=codec.money_from_json(by_kind[RowKind.RESERVE].body["usd"]),
        ranks_per_node=int((ready or intent).body["ranks"]),
    )
    return Try(
        cluster=cluster,
        prepared=prepared,
        intent=str(intent.body["intent"]),
        acked=RowKind.ACK in by_kind,
        gone=gone,
        is_open=RowKind.RELEASE not in by_kind,
    )


def _state(kinds: Iterable[RowKind], *, all_gone: bool) -> ClusterState:
    seen = set(kinds)
    if RowKind.RELEASE in seen:
        return ClusterState.FAILED if RowKind.FAILED in seen else ClusterState.GONE
    if RowKind.DELETE_INTENT in seen or all_gone:
        return ClusterState.DELETING
    return ClusterState.READY if RowKind.READY in seen else ClusterState.CREATING


def _cluster(intent: Row, prepared: PreparedCreate, nodes: tuple[Node, ...]) -> Cluster:
    body = intent.body
    labels = {str(key): str(value) for key, value in body["labels"].items()}
    return Cluster(
        name=str(body["name"]),
        uuid=intent.cluster,
        owner=str(body["owner"]),
        attempt=intent.attempt,
        state=ClusterState.CREATING,
        nodes=nodes,
        offering=codec.offering_from_json(body["offering"]),
        image=codec.image_from_json(body["image"]),
        disk_gib=int(body["disk_gib"]),
        labels=labels,
        created=codec.moment_from_json(intent.at),
        deadline=prepared.deadline,
        usd_per_hour=codec.money_from_json(body["usd_per_hour"]),
        reserved_usd=None,
        autostop_minutes=None if body["autostop_minutes"] is None else int(body["autostop_minutes"]),
        ranks_per_node=1,
        simulated=bool(body["simulated"]),
    )


def _nodes(prepared: PreparedCreate, rows: Sequence[Row]) -> tuple[Node, ...]:
    """Nodes before READY: names from the intent, ids from whichever later row first told them."""
    known = {name: _bare(prepared, name) for name in prepared.names}
    for row in rows:
        if row.kind in (RowKind.ACK, RowKind.DELETE_INTENT):
            for ref in map(codec.ref_from_json, row.body["refs"]):
                if ref.instance_id is not None and known[ref.name].instance_id is None:
                    known[ref.name] = ref
    return tuple(Node(rank=rank_of(name), ref=ref) for name, ref in known.items())


def _bare(prepared: PreparedCreate, name: str) -> InstanceRef:
    return InstanceRef(provider=prepared.provider, region=prepared.region, zone=prepared.zone, name=name)


def _ready_node(data: Mapping[str, Any]) -> Node:
    ref = codec.ref_from_json(data["ref"])
    return Node(
        rank=rank_of(ref.name),
        ref=ref,
        address=str(data["address"]),
        route=data["route"] and codec.route_from_json(data["route"]),
        host_key=data["host_key"] and codec.host_key_from_json(data["host_key"]),
        notice=codec.http_call_from_json(data["notice"]),
        self_delete=codec.http_call_from_json(data["self_delete"]),
    )
