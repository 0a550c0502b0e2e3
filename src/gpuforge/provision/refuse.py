"""The error of a plan that has nothing left: what cannot be had, why, and the nearest thing that can."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Protocol

from gpuforge.cost.estimate import gang_usd_per_hour, lateness, worst_case_usd
from gpuforge.cost.limits import affordable_duration
from gpuforge.errors import BudgetError, Mistake, SpecError
from gpuforge.models.money import format_usd
from gpuforge.models.resources import CapacityType
from gpuforge.provision.match import Refusal, Stage, in_words, refuse
from gpuforge.spec.values import format_duration
from gpuforge.spec.wording import closest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import timedelta

    from gpuforge.errors import GpuforgeError
    from gpuforge.models.offering import Offering
    from gpuforge.models.resources import Mark, Need, Needs

__all__ = ["Asked", "located", "nothing_left", "refuse_outside"]

_MOST_ROWS = 6
_CENT = Decimal("0.01")
_PLACE = "place"
_PLACE_KEYS = ("resources.zone", "resources.region", "resources.infra", "zone", "region", "infra")


class Asked(Protocol):
    """What wording an error reads of a task."""

    @property
    def num_nodes(self) -> int:
        """Size of the gang."""
        ...

    @property
    def max_cost(self) -> Decimal | None:
        """The most that the gang may cost until its deadline."""
        ...

    def mark(self, keypath: str) -> Mark | None:
        """Where a key, or the nearest around it, stands in the file; ``None`` when a flag said it."""
        ...

    def mistake(self, keypath: str, message: str) -> Mistake:
        """A mistake at a key, placed in the file or at the flag that said it."""
        ...


def located(task: Asked, *, needs: Needs, need: Need, keypath: str, message: str) -> Mistake:
    """A mistake at a key; at the need's own line where the task has several needs."""
    mark = need.mark
    if len(needs.alternatives) > 1 and mark is not None:
        return Mistake(where=str(mark), snippet=mark.snippet, message=message)
    return task.mistake(_place_key(task) if keypath == _PLACE else keypath, message)


def _place_key(task: Asked) -> str:
    """Which of the keys that can name a place the user wrote; the narrowest one counts."""
    around = {"resources": task.mark("resources"), "": task.mark("")}
    if around[""] is None:
        return _PLACE_KEYS[-1]
    for key in _PLACE_KEYS:
        if task.mark(key) not in around.values():  # None too: a flag said it
            return key
    return "resources"


def nothing_left(
    task: Asked, provider: str, needs: Needs, refusals: Sequence[Refusal], *, max_duration: timedelta
) -> GpuforgeError:
    """Word the refusal.

    Args:
        task: For marks and limits.
        provider: Its name.
        needs: With canonical GPU names.
        refusals: Why each offering was refused, nearest first.
        max_duration: Span until the deadline.
    """
    if not refusals:
        return SpecError(
            f"{provider} sells nothing that could be asked for",
            details=f"it lists no offering for {_wish(needs.alternatives[0])}",
            resolution="gpuforge gpus shows what there is; gpuforge doctor shows whether it can be reached",
        )
    nearest = refusals[0]
    group = [refusal for refusal in refusals if refusal.stage is nearest.stage]
    if nearest.stage is Stage.TOTAL:
        return _over_total(task, group, max_duration)
    if nearest.stage is Stage.HOURLY:
        return _over_hourly(task, group, refusals)
    keypath, brief, why, advice = _WORDING[nearest.stage](provider, group, refusals)
    mistake = located(task, needs=needs, need=nearest.need, keypath=keypath, message=why)
    return SpecError(brief, mistakes=(mistake,), resolution="\n".join(filter(None, advice)))


def refuse_outside(task: Asked, places: Sequence[str]) -> None:
    """A simulated machine is a folder of this computer: no place outside its home is written to.

    Raises:
        SpecError: Some place is absolute.
    """
    mistakes = [
        task.mistake(
            f"file_mounts.{place}",
            f"it lies outside the machine's home; a simulated machine keeps below the home, such as ~{place}",
        )
        for place in places
        if place.startswith("/")
    ]
    if mistakes:
        raise SpecError("the simulated cloud takes no absolute paths", mistakes=mistakes)


_Words = tuple[str, str, str, tuple[str, ...]]


def _no_type(provider: str, group: Sequence[Refusal], everything: Sequence[Refusal]) -> _Words:
    wanted = group[0].need.instance_type or ""
    known = {refusal.offering.instance_type for refusal in everything}
    near = closest(wanted, known)
    advice = f"did you mean {near}?" if near else f"one of: {_listed(sorted(known))}"
    return (
        "resources.instance_type",
        f"{provider} has no instance type {wanted}",
        f"there is no {wanted}",
        (advice, "gpuforge gpus lists them"),
    )


def _no_gpu(provider: str, group: Sequence[Refusal], everything: Sequence[Refusal]) -> _Words:
    need = group[0].need
    sold = sorted({r.offering.accelerator.name for r in everything if r.offering.accelerator is not None})
    if not need.accelerators:
        why = f"every machine of {provider} has GPUs: {_listed(sold)}"
        advice = f"ask for one of them, such as accelerators: {sold[0]}"
        return "resources", f"{provider} has no machine without a GPU", why, (advice,)
    names = " or ".join(dict.fromkeys(accelerator.name for accelerator in need.accelerators))
    if need.instance_type is not None:
        has = group[0].offering.accelerator
        why = f"{need.instance_type} has {has or 'no GPU'}"
        advice = "leave out instance_type, or ask for the GPUs that it has"
        return "resources.accelerators", f"{need.instance_type} has no {names}", why, (advice,)
    why = f"{provider} sells {_listed(sold)}" if sold else f"{provider} sells no GPUs"
    return "resources.accelerators", f"{provider} does not sell {names}", why, ("gpuforge gpus",)


def _no_count(provider: str, group: Sequence[Refusal], _everything: Sequence[Refusal]) -> _Words:
    need = group[0].need
    wishes = [str(accelerator) for accelerator in need.accelerators]
    names = {accelerator.name for accelerator in need.accelerators}
    sold: dict[str, set[int]] = {}
    for refusal in group:
        has = refusal.offering.accelerator
        if has is not None and has.name in names:
            sold.setdefault(has.name, set()).add(has.count)
    counts = "; ".join(f"{name}: {_listed(map(str, sorted(sold[name])))}" for name in sorted(sold))
    wanted = need.accelerators[0]
    there = sorted(sold.get(wanted.name, set()))
    return (
        "resources.accelerators",
        f"{provider} has no machine with {' or '.join(wishes)}",
        f"GPUs per machine: {counts}",
        (_nearest_count(wanted.name, wanted.count, there),),
    )


def _nearest_count(name: str, count: int, there: Sequence[int]) -> str:
    more = [number for number in there if number > count]
    fits = [number for number in there if number < count and count % number == 0]
    advice = []
    if more:
        advice.append(f"accelerators: {name}:{more[0]}")
    if fits:
        advice.append(f"accelerators: {name}:{fits[-1]} with num_nodes: {count // fits[-1]}")
    return ", or ".join(advice) or f"gpuforge gpus {name}"


def _no_size(provider: str, group: Sequence[Refusal], _everything: Sequence[Refusal]) -> _Words:
    need = group[0].need
    keypath = "resources.cpus" if "vCPU" in group[0].reason else "resources.memory"
    shapes = dict.fromkeys(
        f"{r.offering.instance_type} ({r.offering.vcpus} vCPU, {r.offering.memory_gib} GiB)"
        for r in sorted(group, key=lambda r: (-r.offering.vcpus, -r.offering.memory_gib))
    )
    return (
        keypath,
        f"{provider} has no {_wish(need)} of that size",
        f"the largest are {_listed(shapes, most=3)}",
        ("change cpus or memory; 4+ means at least 4",),
    )


def _not_sold_so(provider: str, group: Sequence[Refusal], everything: Sequence[Refusal]) -> _Words:
    need = group[0].need
    types = dict.fromkeys(f"{r.offering.instance_type}: {r.reason}" for r in group)
    return (
        "resources.use_spot",
        f"{provider} sells no {_wish(need)} {in_words(need.capacity_type)}",
        _listed(types, most=4),
        (_other_way(everything) or "gpuforge gpus shows what is sold, and how",),
    )


def _other_way(everything: Sequence[Refusal], limit: Decimal | None = None) -> str:
    """How the same could be had as another capacity type, at the lowest price, below a limit if any."""
    others = [
        r.offering
        for r in everything
        if r.stage is Stage.CAPACITY
        and refuse(r.offering, replace(r.need, capacity_type=r.offering.capacity_type)) is None
        and (limit is None or (r.offering.price is not None and r.offering.price.usd_per_hour <= limit))
    ]
    if not others:
        return ""
    cheapest = min(others, key=_price_key)
    price = "" if cheapest.price is None else f"  {format_usd(cheapest.price.usd_per_hour)}/h"
    spot = str(cheapest.capacity_type is CapacityType.SPOT).lower()
    return f"{in_words(cheapest.capacity_type)}: use_spot: {spot}{price} in {cheapest.region}"


def _not_there(provider: str, group: Sequence[Refusal], everything: Sequence[Refusal]) -> _Words:
    need = group[0].need
    place = need.zone or need.region or ""
    regions = sorted({refusal.offering.region for refusal in group})
    known = {getattr(refusal.offering, "zone" if need.zone else "region") for refusal in everything}
    near = closest(place, known) if place not in known else None
    hint = f"there is no {place}; did you mean {near}? " if near else ""
    cheapest = min((r.offering for r in group), key=_price_key)
    price = "" if cheapest.price is None else f"  {format_usd(cheapest.price.usd_per_hour)}/h"
    return (
        _PLACE,
        f"{provider} has no {_wish(need)} in {place}",
        f"{hint}it is sold in {_listed(regions)}",
        (f"elsewhere: --infra {provider}/{cheapest.region}{price}",),
    )


def _no_image(provider: str, group: Sequence[Refusal], _everything: Sequence[Refusal]) -> _Words:
    need = group[0].need
    asked = need.image or "the default image"
    why = "; ".join(dict.fromkeys(refusal.reason for refusal in group))
    advice = tuple(dict.fromkeys(refusal.advice for refusal in group if refusal.advice))
    return (
        "resources.image",
        f"{asked} does not do for {_wish(need)} on {provider}",
        why,
        advice or ("gpuforge images lists what there is, with drivers",),
    )


def _small_disk(_provider: str, group: Sequence[Refusal], _everything: Sequence[Refusal]) -> _Words:
    need = group[0].need
    why = "; ".join(dict.fromkeys(refusal.reason for refusal in group))
    return (
        "resources.disk_size",
        f"a disk of {need.disk_gib} GB is too small",
        why,
        ("make disk_size at least as large as the image, with room for your data",),
    )


_WORDING: dict[Stage, Callable[[str, Sequence[Refusal], Sequence[Refusal]], _Words]] = {
    Stage.TYPE: _no_type,
    Stage.GPU: _no_gpu,
    Stage.COUNT: _no_count,
    Stage.SIZE: _no_size,
    Stage.CAPACITY: _not_sold_so,
    Stage.RESTRICTION: _not_sold_so,
    Stage.PLACE: _not_there,
    Stage.IMAGE: _no_image,
    Stage.DISK: _small_disk,
}


def _over_hourly(task: Asked, group: Sequence[Refusal], everything: Sequence[Refusal]) -> BudgetError:
    cheapest = _cheapest(task, group)
    need = group[0].need
    if cheapest is None:
        return BudgetError(
            f"the price of {_wish(need)} is unknown, so max_hourly_cost cannot be held",
            details=_table(group),
            resolution="leave out max_hourly_cost, or ask for another GPU",
        )
    hourly, refusal = cheapest
    limit = refusal.need.max_usd_per_hour
    spot = _other_way(everything, None if limit is None else limit / task.num_nodes)
    return BudgetError(
        f"nothing costs {format_usd(limit)}/h or less; the cheapest is {format_usd(hourly)}/h",
        details=_table(group),
        resolution="\n".join(filter(None, (f"max_hourly_cost: {_round_up(hourly)}, or ask for less", spot))),
    )


def _over_total(task: Asked, group: Sequence[Refusal], max_duration: timedelta) -> BudgetError:
    cheapest = _cheapest(task, group)
    limit = task.max_cost
    if cheapest is None or limit is None:
        return BudgetError(
            f"the price of {_wish(group[0].need)} is unknown, so max_cost cannot be held",
            details=_table(group),
            resolution="leave out max_cost, or ask for another GPU",
        )
    hourly, refusal = cheapest
    offering = refusal.offering
    capacity = offering.capacity_type
    worst = worst_case_usd(hourly, max_duration=max_duration, capacity_type=capacity)
    fits = affordable_duration(hourly, limit, capacity_type=capacity)
    late = int(lateness(capacity).total_seconds())
    raised = f"max_cost: {_round_up(worst or limit)}"
    return BudgetError(
        f"this may cost {format_usd(worst)}, more than max_cost {format_usd(limit)}",
        details=(
            f"{task.num_nodes} × {offering.instance_type} at {format_usd(hourly)}/h, disks included, for"
            f" {format_duration(max_duration)} and the {late} s that the cloud may be late"
        ),
        resolution=raised if fits is None else f"--max-duration {format_duration(fits)} fits, or {raised}",
    )


def _cheapest(task: Asked, group: Sequence[Refusal]) -> tuple[Decimal, Refusal] | None:
    priced = [
        (hourly, index)
        for index, refusal in enumerate(group)
        if (
            hourly := gang_usd_per_hour(
                refusal.offering, num_nodes=task.num_nodes, disk_gib=refusal.need.disk_gib
            )
        )
        is not None
    ]
    if not priced:
        return None
    hourly, index = min(priced)
    return hourly, group[index]


def _table(group: Sequence[Refusal]) -> str:
    rows = [f"{r.offering.instance_type}  {r.offering.zone}  {r.reason}" for r in group[:_MOST_ROWS]]
    if len(group) > _MOST_ROWS:
        rows.append(f"and {len(group) - _MOST_ROWS} more")
    return "\n".join(rows)


def _wish(need: Need) -> str:
    if need.instance_type is not None:
        return need.instance_type
    if need.accelerators:
        return " or ".join(str(accelerator) for accelerator in need.accelerators)
    return "machine without a GPU"


def _listed(words: Iterable[str], *, most: int = _MOST_ROWS) -> str:
    shown = list(words)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def _price_key(offering: Offering) -> tuple[bool, Decimal, str]:
    price = offering.price
    return (price is None, Decimal(0) if price is None else price.usd_per_hour, offering.zone)


def _round_up(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_CEILING)
