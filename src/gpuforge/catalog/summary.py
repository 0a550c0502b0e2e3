"""The rows ``gpuforge gpus`` shows: one per instance type, over a table's offerings or a provider's own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from gpuforge.catalog.accelerators import UnknownAccelerator, lookup
from gpuforge.errors import SpecError
from gpuforge.models.resources import CapacityType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from decimal import Decimal

    from gpuforge.models.offering import Offering

__all__ = ["GpuRow", "summarise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow:
    """One instance type with GPUs, over all regions.

    Attributes:
        gpu: Canonical name.
        memory_gib: Per GPU.
        count: GPUs per machine.
        regions: Where it is listed, sorted.
        cheapest: The region with the lowest on-demand price, or the lowest spot price where it is not sold
            on demand or that price is unknown; ``None`` when no price is known.
        on_demand_usd_hr: In ``cheapest``; ``None`` when unknown or not sold so.
        spot_usd_hr: In ``cheapest``.
        on_demand_note: Why it cannot be had on demand, or empty.
        spot_note: Why it cannot be had as spot, or empty.
        lowest_spot_usd_hr: In any region.
        lowest_spot_region: Which one that is.
        as_of: Date of the oldest price here.
    """

    provider: str
    gpu: str
    memory_gib: int | None
    instance_type: str
    count: int
    vcpus: int
    machine_memory_gib: Decimal
    regions: tuple[str, ...]
    cheapest: str | None
    on_demand_usd_hr: Decimal | None
    spot_usd_hr: Decimal | None
    on_demand_note: str
    spot_note: str
    lowest_spot_usd_hr: Decimal | None
    lowest_spot_region: str | None
    as_of: date | None


def summarise(offerings: Iterable[Offering], text: str = "") -> tuple[GpuRow, ...]:
    """Rows by GPU, then count, then vCPUs.

    Args:
        offerings: Of one provider or several; those without a GPU are left out.
        text: Empty for all, else a GPU (``A100``, ``H100:8``, any alias) or a part of an instance type's
            name or of a region's. ``A100`` does not match ``A100-80GB``.

    Raises:
        SpecError: Nothing matches; says what is meant, where something looks like it.
    """
    with_gpu = [offering for offering in offerings if offering.accelerator is not None]
    kept = _matching(with_gpu, text.strip()) if text.strip() else with_gpu
    kept.sort(key=lambda offering: (offering.provider, offering.instance_type))
    rows = [
        _row(list(group))
        for _, group in groupby(kept, key=lambda offering: (offering.provider, offering.instance_type))
    ]
    return tuple(sorted(rows, key=lambda r: (r.gpu, r.count, r.vcpus, r.provider, r.instance_type)))


def _matching(offerings: Sequence[Offering], text: str) -> list[Offering]:
    name, colon, count = text.partition(":")
    unknown = ""
    try:
        wanted = lookup(name).name
    except UnknownAccelerator as error:
        unknown = str(error)
        part = text.casefold()
        found = [o for o in offerings if part in o.instance_type.casefold() or part in o.region.casefold()]
    else:
        found = [o for o in offerings if _is(o, wanted, count if colon else "")]
    if not found:
        sold = sorted({o.accelerator.name for o in offerings if o.accelerator is not None})
        raise SpecError(
            f"no instance type matches {text!r}",
            details=unknown or f"nobody here sells {text}",
            resolution=f"gpuforge gpus lists everything: {', '.join(sold)}" if sold else "gpuforge gpus",
        )
    return found


def _is(offering: Offering, name: str, count: str) -> bool:
    accelerator = offering.accelerator
    return (
        accelerator is not None
        and accelerator.name == name
        and (not count or str(accelerator.count) == count.strip())
    )


def _row(group: Sequence[Offering]) -> GpuRow:
    first = group[0]
    accelerator = next(o.accelerator for o in group if o.accelerator is not None)
    on_demand = _prices(group, CapacityType.ON_DEMAND)
    spot = _prices(group, CapacityType.SPOT)
    cheapest = _lowest(on_demand) or _lowest(spot)
    lowest_spot = _lowest(spot)
    dates = [offering.price.as_of for offering in group if offering.price is not None]
    return GpuRow(
        provider=first.provider,
        gpu=accelerator.name,
        memory_gib=accelerator.memory_gib,
        instance_type=first.instance_type,
        count=accelerator.count,
        vcpus=first.vcpus,
        machine_memory_gib=first.memory_gib,
        regions=tuple(sorted({offering.region for offering in group})),
        cheapest=cheapest,
        on_demand_usd_hr=on_demand.get(cheapest) if cheapest else None,
        spot_usd_hr=spot.get(cheapest) if cheapest else None,
        on_demand_note=_note(group, CapacityType.ON_DEMAND),
        spot_note=_note(group, CapacityType.SPOT),
        lowest_spot_usd_hr=spot[lowest_spot] if lowest_spot else None,
        lowest_spot_region=lowest_spot,
        as_of=min(dates, default=None),
    )


def _prices(group: Sequence[Offering], capacity: CapacityType) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for offering in group:
        if offering.capacity_type is capacity and offering.price is not None and not offering.restriction:
            known = found.get(offering.region)
            price = offering.price.usd_per_hour
            found[offering.region] = price if known is None else min(known, price)
    return found


def _lowest(prices: dict[str, Decimal]) -> str | None:
    return min(prices, key=lambda region: (prices[region], region), default=None)


def _note(group: Sequence[Offering], capacity: CapacityType) -> str:
    reasons = {offering.restriction for offering in group if offering.capacity_type is capacity}
    return "" if not reasons or "" in reasons else min(reasons)
