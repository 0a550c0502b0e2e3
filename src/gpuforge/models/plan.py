"""A plan: what would be rented, at what price, and why not something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from decimal import Decimal

    from gpuforge.models.image import Image
    from gpuforge.models.offering import Offering
    from gpuforge.models.resources import Need

__all__ = ["Excluded", "Option", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One offering that would do, in the order it will be tried.

    Attributes:
        usd_per_hour: Whole gang, disks included; ``None`` when a part is unknown.
        worst_case_usd: Until the deadline, plus the cloud's own lateness; ``None`` when unknown.
    """

    offering: Offering
    need: Need
    image: Image
    usd_per_hour: Decimal | None
    worst_case_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """An offering that was left out, and why in the user's words."""

    offering: Offering
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The result of planning; computing it has no side effects.

    Attributes:
        options: In the order they will be tried; never empty.
        excluded: Candidates left out, each with its reason.
        num_nodes: Size of the gang.
        max_duration: Span from create to the deadline the cloud enforces.
        deadline: ``made_at + max_duration``, shown to the user; create sets its own.
        autostop_minutes: Idle minutes until the machine deletes itself; ``None`` is off.
    """

    cluster_name: str
    provider: str
    simulated: bool
    options: tuple[Option, ...]
    excluded: tuple[Excluded, ...]
    num_nodes: int
    max_duration: timedelta
    made_at: datetime
    deadline: datetime
    autostop_minutes: int | None

    @property
    def best(self) -> Option:
        """The option tried first."""
        return self.options[0]
