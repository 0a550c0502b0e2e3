"""From the keys of a task to what a machine must have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuforge.models.resources import CapacityType, Mark, Need, Needs
from gpuforge.spec.values import Place

if TYPE_CHECKING:
    from gpuforge.spec.mistakes import KeyPath, Origins
    from gpuforge.spec.resources import Alternative, Placed, Resources

__all__ = ["needs_of", "place_of"]


def place_of(task: Placed, resources: Resources) -> Place:
    """Where the task as a whole wants to be."""
    return _place(resources, _place(task, Place()))


def _place(holder: Placed, base: Place) -> Place:
    """``base``, with what ``holder`` says about it."""
    if holder.infra is not None:
        return holder.infra
    place = base
    if holder.cloud is not None:
        place = Place(provider=holder.cloud)
    if holder.region is not None:
        place = Place(provider=place.provider, region=holder.region)
    return replace(place, zone=holder.zone) if holder.zone is not None else place


def needs_of(task: Placed, resources: Resources, origins: Origins) -> Needs:
    """Every acceptable kind of node."""
    whole = place_of(task, resources)
    base = _need(resources, Need(), whole, ("resources",), origins)
    for key, items in (("any_of", resources.any_of), ("ordered", resources.ordered)):
        if items:
            needs = [
                _need(item, base, _place(item, whole), ("resources", key, index), origins)
                for index, item in enumerate(items)
            ]
            # the same alternative twice (after a flag made them equal) is one
            return Needs(alternatives=tuple(_distinct(needs)), ordered=key == "ordered")
    return Needs(alternatives=(base,))


def _distinct(needs: list[Need]) -> list[Need]:
    seen: dict[Need, Need] = {}
    for need in needs:
        seen.setdefault(replace(need, mark=None), need)
    return list(seen.values())


def _need(item: Alternative, base: Need, place: Place, path: KeyPath, origins: Origins) -> Need:
    """``base``, with what ``item`` says instead."""
    gpus = item.accelerators
    spot = item.use_spot
    return Need(
        accelerators=base.accelerators if gpus is None else gpus.alternatives,
        accelerators_ordered=base.accelerators_ordered if gpus is None else gpus.ordered,
        cpus=item.cpus or base.cpus,
        memory_gib=item.memory or base.memory_gib,
        instance_type=item.instance_type or base.instance_type,
        capacity_type=base.capacity_type if spot is None else _capacity(spot=spot),
        region=place.region,
        zone=place.zone,
        disk_gib=item.disk_size or base.disk_gib,
        image=item.image or base.image,
        max_usd_per_hour=item.max_hourly_cost or base.max_usd_per_hour,
        mark=_mark(item, base, path, origins),
    )


def _capacity(*, spot: bool) -> CapacityType:
    return CapacityType.SPOT if spot else CapacityType.ON_DEMAND


def _mark(item: Alternative, base: Need, path: KeyPath, origins: Origins) -> Mark | None:
    """The GPU where one is named, for that is what fails first; else the whole entry."""
    if item.accelerators is not None:
        return origins.mark((*path, "accelerators"))
    return base.mark if base.accelerators else origins.mark(path)
