"""Prices of a gang by the hour, and the most it can cost until its deadline.

Everything is ``Decimal`` and nothing is guessed: one unknown part makes the whole unknown. Disks are
included; traffic, snapshots, support and tax are not.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from gpuforge.models.money import HOURS_PER_MONTH
from gpuforge.models.resources import CapacityType

if TYPE_CHECKING:
    from gpuforge.models.offering import Offering

__all__ = ["disk_usd_per_hour", "gang_usd_per_hour", "lateness", "worst_case_usd"]

# How late the cloud may end an instance after its deadline: up to 30 s until it acts and 120 s of shutdown on
# Compute Engine. For spot a preemption notice of 120 s may come first, until it is checked live (180 s).
_LATENESS = timedelta(seconds=150)
_SPOT_LATENESS = timedelta(seconds=180)
_MICRODOLLAR = Decimal("0.000001")
_MICROSECONDS_PER_HOUR = 3_600_000_000


def lateness(capacity_type: CapacityType) -> timedelta:
    """How long past its deadline the cloud may let an instance run and bill."""
    return _SPOT_LATENESS if capacity_type is CapacityType.SPOT else _LATENESS


def disk_usd_per_hour(offering: Offering, disk_gib: int) -> Decimal | None:
    """The boot disk of one node; ``None`` when its price is unknown."""
    per_gib_month = offering.disk_usd_per_gib_month
    return None if per_gib_month is None else per_gib_month * disk_gib / HOURS_PER_MONTH


def gang_usd_per_hour(offering: Offering, *, num_nodes: int, disk_gib: int) -> Decimal | None:
    """All nodes with their disks, rounded up to a millionth; ``None`` when a part is unknown."""
    disk = disk_usd_per_hour(offering, disk_gib)
    if offering.price is None or disk is None:
        return None
    exact = (offering.price.usd_per_hour + disk) * num_nodes
    return exact.quantize(_MICRODOLLAR, rounding=ROUND_CEILING)


def worst_case_usd(
    usd_per_hour: Decimal | None, *, max_duration: timedelta, capacity_type: CapacityType
) -> Decimal | None:
    """The most that can be billed: until the deadline and through the cloud's own lateness."""
    if usd_per_hour is None:
        return None
    microseconds = (max_duration + lateness(capacity_type)) // timedelta(microseconds=1)
    # in this order: a third of an hour, rounded before it is multiplied, could exceed a limit that it meets
    return usd_per_hour * microseconds / _MICROSECONDS_PER_HOUR
