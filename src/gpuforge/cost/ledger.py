"""What was spent, from the journal's own times: no billing data, so no lag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from gpuforge.models.money import hours
from gpuforge.state import views
from gpuforge.state.codec import moment_from_json
from gpuforge.state.journal import RowKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

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
    attempts = [attempt for attempt in views.tries(journal, cluster.uuid) if attempt.acked]
    ends = _ends(journal, cluster.uuid)
    begun = [attempt.cluster.created for attempt in attempts]
    ended = [now if attempt.is_open else ends.get(attempt.cluster.attempt, now) for attempt in attempts]
    return Spent(
        cluster=cluster.name,
        usd=_sum(
            (attempt.cluster.usd_per_hour, max(end - start, timedelta()))
            for attempt, start, end in zip(attempts, begun, ended, strict=True)
        ),
        since=min(begun, default=cluster.created),
        until=max(ended, default=cluster.created),
        simulated=cluster.simulated,
    )


def _sum(intervals: Iterable[tuple[Decimal | None, timedelta]]) -> Decimal | None:
    total = Decimal(0)
    for usd_per_hour, span in intervals:
        if usd_per_hour is None:
            return None
        total += usd_per_hour * hours(span)
    return total


def _ends(journal: Journal, uuid: str) -> dict[int, datetime]:
    closing = (RowKind.GONE, RowKind.FAILED)
    return {row.attempt: moment_from_json(row.at) for row in journal.rows(uuid) if row.kind in closing}
