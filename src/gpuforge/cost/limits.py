"""The user's limits on money (``max_hourly_cost``, ``max_cost``): what they leave out, and what would fit."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from gpuforge.cost.estimate import lateness
from gpuforge.models.money import format_usd

if TYPE_CHECKING:
    from gpuforge.models.resources import CapacityType

__all__ = ["affordable_duration", "over_hourly", "over_total"]

_SHORTEST = timedelta(minutes=1)
_MICROSECONDS_PER_HOUR = 3_600_000_000


def over_hourly(usd_per_hour: Decimal | None, limit: Decimal | None) -> str:
    """Why this price breaks ``max_hourly_cost``, or an empty text. An unknown price cannot keep a limit."""
    if limit is None:
        return ""
    if usd_per_hour is None:
        return f"price unknown, so max_hourly_cost {format_usd(limit)}/h cannot be held"
    if usd_per_hour > limit:
        return f"{format_usd(usd_per_hour)}/h is above max_hourly_cost {format_usd(limit)}/h"
    return ""


def over_total(worst_case_usd: Decimal | None, limit: Decimal | None) -> str:
    """Why this worst case breaks ``max_cost``, or an empty text. An unknown one cannot keep a limit."""
    if limit is None:
        return ""
    if worst_case_usd is None:
        return f"price unknown, so max_cost {format_usd(limit)} cannot be held"
    if worst_case_usd > limit:
        return f"may cost {format_usd(worst_case_usd)}, above max_cost {format_usd(limit)}"
    return ""


def affordable_duration(
    usd_per_hour: Decimal, limit: Decimal, *, capacity_type: CapacityType
) -> timedelta | None:
    """The longest ``max_duration``, in whole minutes, whose worst case is within ``limit``.

    Returns:
        ``None`` when not even a minute is.
    """
    if usd_per_hour <= 0:
        return timedelta.max
    most = limit * _MICROSECONDS_PER_HOUR / usd_per_hour  # in this order: exact where the result is
    if most >= Decimal(timedelta.max // timedelta(microseconds=1)):
        return timedelta.max
    span = timedelta(microseconds=int(most)) - lateness(capacity_type)
    minutes = timedelta(minutes=span // timedelta(minutes=1))
    return minutes if minutes >= _SHORTEST else None
