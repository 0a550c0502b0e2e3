"""Money: ``Decimal`` US dollars, always with the date and source they held."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, timedelta

__all__ = ["HOURS_PER_MONTH", "Price", "format_usd", "hours"]

# what clouds divide a month's price of a disk by (Google's and AWS's pricing pages)
HOURS_PER_MONTH = Decimal(730)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per hour, when that was true, and who said so."""

    usd_per_hour: Decimal
    as_of: date
    source: str


def hours(span: timedelta) -> Decimal:
    """A span in hours, exact to the microsecond."""
    return Decimal(span // _microsecond(span)) / Decimal(3_600_000_000)


def _microsecond(span: timedelta) -> timedelta:
    return type(span)(microseconds=1)


def format_usd(amount: Decimal | None) -> str:
    """``$4.31``; three places below ten cents; ``unknown`` stays unknown.

    >>> format_usd(Decimal("4.305")), format_usd(Decimal("0.0041")), format_usd(None)
    ('$4.31', '$0.005', 'unknown')
    """
    if amount is None:
        return "unknown"
    step = Decimal("0.001") if 0 < amount < Decimal("0.1") else Decimal("0.01")
    return f"${amount.quantize(step, rounding=ROUND_CEILING):,}"
