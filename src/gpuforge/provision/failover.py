"""Which offering comes next: a pure walk over the plan, led by the kinds of the errors met."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from gpuforge.errors import Attempt, CapacityError, GpuforgeError, ProviderError, ProvisionError, QuotaError
from gpuforge.models.resources import CapacityType

if TYPE_CHECKING:
    from datetime import datetime

    from gpuforge.models.plan import Option, Plan

__all__ = ["Next", "Walk", "decide"]

_WORDS = {
    CapacityType.ON_DEMAND: "on demand",
    CapacityType.SPOT: "as spot",
    CapacityType.RESERVED: "reserved",
    CapacityType.FLEX_START: "by flex start",
}


class Next(Enum):
    """What an error asks of the walk."""

    OFFERING = "offering"
    REGION = "region"
    STOP = "stop"


def decide(error: GpuforgeError) -> Next:
    """What to do after ``error`` ended an attempt whose remains are gone.

    A plain ``ProviderError`` is an operation that failed, or an instance lost while it booted: bad luck of
    that place. Everything that a user must fix is never tried elsewhere.
    """
    if isinstance(error, QuotaError):
        return Next.REGION
    if isinstance(error, CapacityError) or type(error) is ProviderError:
        return Next.OFFERING
    return Next.STOP


@dataclass(slots=True, kw_only=True)
class Walk:
    """The plan's options in order, without regions whose quota is used up."""

    plan: Plan
    attempts: list[Attempt] = field(default_factory=list)
    _position: int = 0
    _full_regions: set[str] = field(default_factory=set)

    def step(self) -> Option | None:
        """The next option to try, or None when all were."""
        while self._position < len(self.plan.options):
            option = self.plan.options[self._position]
            self._position += 1
            if option.offering.region not in self._full_regions:
                return option
        return None

    def met(self, option: Option, error: GpuforgeError, now: datetime) -> None:
        """Remember why ``option`` came to nothing."""
        offering = option.offering
        if decide(error) is Next.REGION:
            self._full_regions.add(offering.region)
        when = now.astimezone().strftime("%H:%M:%S")  # the user's own time
        is_stockout = isinstance(error, CapacityError)
        reason = f"out of stock at {when}" if is_stockout else f"{error} (at {when})"
        self.attempts.append(
            Attempt(
                instance_type=offering.instance_type,
                place=offering.zone or "–",
                reason=reason,
                error_code=error.code,
            )
        )

    def failed(self) -> ProvisionError:
        """The error that says every offering was tried, each with its reason."""
        best = self.plan.best.offering
        what = str(best.accelerator) if best.accelerator else best.instance_type
        regions = {option.offering.region for option in self.plan.options}
        place = regions.pop() if len(regions) == 1 else self.plan.provider
        words = _WORDS[best.capacity_type]
        sold_out = any(attempt.error_code == CapacityError.code for attempt in self.attempts)
        verb = "nobody sells" if sold_out else "nobody lets us have"
        return ProvisionError(
            f"{verb} {what} {words} in {place} now",
            attempts=self.attempts,
            resolution=_advice(self.plan, sold_out=sold_out),
        )


def _advice(plan: Plan, *, sold_out: bool) -> str:
    tried = {option.offering.region for option in plan.options}
    others = sorted({x.offering.region for x in plan.excluded} - tried)
    lines = []
    if others:
        lines.append(f"another region   gpuforge run --infra {plan.provider}/{others[0]}")
    if plan.best.offering.capacity_type is CapacityType.ON_DEMAND:
        lines.append("or spot          gpuforge run --use-spot")
    if sold_out:
        lines.append("or later         stock-outs pass within minutes to hours")
    else:
        lines.append("or more quota    gpuforge doctor shows limits and how to raise them")
    return "\n".join(lines)
