"""What was spent, from the journal's own times: no billing data, so no lag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.models.money import hours
from gpuforge.state import views
from gpuforge.state.journal import RowKind

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from gpuforge.models.cluster import Cluster
    from gpuforge.state.journal import Journal

__all__ = ["Spent", "spent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The cost of one cluster over one interval.

    Attributes:
        usd: Machines and disks; ``None`` when the price is unknown.
        since: Its create was accepted.
        until: The last machine was gone, or now.
        simulated: Nothing was billed.
    """

    cluster: str
    usd: Decimal | None
    since: datetime
    until: datetime
    simulated: bool


def spent(journal: Journal, cluster: Cluster, *, now: datetime) -> Spent:
    """Sum over every attempt of the cluster, failed ones included.

    An attempt bills from its intent (a little early, never late) until its last machine was gone.
    """
    ends = _ends(journal, cluster.uuid)
    total: Decimal | None = None
    since, until = cluster.created, cluster.created
    unknown = False
    for attempt in views.tries(journal, cluster.uuid):
        record = attempt.cluster
        end = now if attempt.is_open else ends.get(record.attempt, now)
        until, since = max(until, end), min(since, record.created)
        if not attempt.acked:
            continue
        if record.usd_per_hour is None:
            unknown = True
            continue
        cost = record.usd_per_hour * hours(max(end - record.created, end - end))
        total = cost if total is None else total + cost
    return Spent(
        cluster=cluster.name,
        usd=None if unknown else total,
        since=since,
        until=until,
        simulated=cluster.simulated,
    )


def _ends(journal: Journal, uuid: str) -> dict[int, datetime]:
    closing = (RowKind.GONE, RowKind.FAILED)
    return {row.attempt: row.at for row in journal.rows(uuid) if row.kind in closing}
