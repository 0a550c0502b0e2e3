"""The plan: which offerings would be tried, in which order, at what price, and why not the others.

Planning is pure: it reads offerings, images, the clock and the stock-outs met lately, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, Protocol

from gpuforge.catalog.accelerators import UnknownAccelerator, lookup
from gpuforge.catalog.catalog import SOLD
from gpuforge.cost.estimate import gang_usd_per_hour, worst_case_usd
from gpuforge.cost.limits import over_hourly, over_total
from gpuforge.errors import NotFoundError, SpecError
from gpuforge.images.select import ImageQuery
from gpuforge.models.clock import rfc3339
from gpuforge.models.plan import Excluded, Option, Plan
from gpuforge.models.resources import Accelerator, Need, Needs
from gpuforge.provision.match import Refusal, Stage, image_refusal, refuse
from gpuforge.provision.refuse import Asked, located, nothing_left, refuse_outside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from gpuforge.errors import Mistake
    from gpuforge.models.clock import Clock
    from gpuforge.models.image import Image
    from gpuforge.models.offering import Offering
    from gpuforge.providers.base import Provider
    from gpuforge.spec.files import FileMount

__all__ = ["Planned", "make_plan", "to_data"]


_MICRO = Decimal("0.000001")


class Planned(Asked, Protocol):
    """What planning reads of a task."""

    @property
    def file_mounts(self) -> Sequence[FileMount]:
        """What is copied beside the workdir."""
        ...

    def needs(self) -> Needs:
        """Acceptable kinds of node."""
        ...


def make_plan(
    task: Planned,
    *,
    provider: Provider,
    cluster_name: str,
    max_duration: timedelta,
    autostop_minutes: int | None,
    clock: Clock,
    stockouts: Mapping[str, datetime],
) -> Plan:
    """Order what is sold by what was asked.

    Offerings that ran out of stock minutes ago are left out while there is anything else, and are tried in
    the usual order when there is not.

    Args:
        task: The task; its ``needs``, ``num_nodes``, ``max_cost`` and marks are read.
        provider: Asked for offerings and images only.
        cluster_name: Goes into the plan as it is.
        max_duration: Span until the deadline.
        autostop_minutes: Goes into the plan as it is.
        clock: For the plan's own time and the age of stock-outs.
        stockouts: When each ``Offering.key`` was last met out of stock.

    Raises:
        SpecError: What was asked is not sold by this provider; points at the line.
        BudgetError: All that would do is above ``max_hourly_cost`` or ``max_cost``.
        ProviderError: The provider could not say what it sells.
    """
    if provider.simulated:
        refuse_outside(task, [mount.remote for mount in task.file_mounts])
    needs = _canonical(task)
    now = clock.now()
    search = _Search(
        task=task,
        provider=provider,
        max_duration=max_duration,
        now=now,
        stockouts=stockouts,
        needs=needs,
        images={},
    )
    chosen, refused = search.sort_out()
    if not chosen:
        raise nothing_left(task, provider.name, needs, search.near_misses(refused), max_duration=max_duration)
    return Plan(
        cluster_name=cluster_name,
        provider=provider.name,
        simulated=provider.simulated,
        options=tuple(chosen),
        excluded=tuple(Excluded(offering=r.offering, reason=r.reason) for r in refused),
        num_nodes=task.num_nodes,
        max_duration=max_duration,
        made_at=now,
        deadline=now + max_duration,
        autostop_minutes=autostop_minutes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """One planning run: the question, and the images resolved on the way."""

    task: Planned
    provider: Provider
    max_duration: timedelta
    now: datetime
    stockouts: Mapping[str, datetime]
    needs: Needs
    images: dict[tuple[str | None, str, bool], Image | NotFoundError]

    def sort_out(self) -> tuple[list[Option], list[Refusal]]:
        """Every offering once: an option, or left out with the reason that came nearest."""
        options: dict[str, tuple[tuple[Any, ...], Option]] = {}
        refusals: dict[str, Refusal] = {}
        for index, need in enumerate(self.needs.alternatives):
            for offering in self.provider.list_offerings(need):
                verdict = self.judge(offering, need)
                if isinstance(verdict, Refusal):
                    _keep_nearest(refusals, verdict)
                else:
                    ranked = (self._rank(index, verdict), verdict)
                    known = options.get(offering.key)
                    options[offering.key] = ranked if known is None else min(known, ranked, key=_first)
        stocked = {key: ranked for key, ranked in options.items() if key not in self.stockouts}
        chosen = stocked or options
        for key in options.keys() - chosen.keys():
            _keep_nearest(refusals, self._out_of_stock(options[key][1]))
        left_out = [refusal for key, refusal in refusals.items() if key not in chosen]
        ordered = [option for _, option in sorted(chosen.values(), key=_first)]
        return ordered, sorted(left_out, key=_nearest_first)

    def judge(self, offering: Offering, need: Need) -> Option | Refusal:
        """One offering against one need."""
        misfit = refuse(offering, need)
        if misfit is not None:
            return misfit
        image = self._image(offering, need)
        if isinstance(image, NotFoundError):
            return Refusal(
                offering=offering, need=need, stage=Stage.IMAGE, reason=str(image), advice=image.resolution
            )
        return image_refusal(offering, need, image) or self._priced(offering, need, image)

    def _priced(self, offering: Offering, need: Need, image: Image) -> Option | Refusal:
        hourly = gang_usd_per_hour(offering, num_nodes=self.task.num_nodes, disk_gib=need.disk_gib)
        worst = worst_case_usd(hourly, max_duration=self.max_duration, capacity_type=offering.capacity_type)
        for stage, reason in (
            (Stage.HOURLY, over_hourly(hourly, need.max_usd_per_hour)),
            (Stage.TOTAL, over_total(worst, self.task.max_cost)),
        ):
            if reason:
                return Refusal(offering=offering, need=need, stage=stage, reason=reason)
        return Option(offering=offering, need=need, image=image, usd_per_hour=hourly, worst_case_usd=worst)

    def _image(self, offering: Offering, need: Need) -> Image | NotFoundError:
        key = (need.image, offering.arch, offering.accelerator is not None)
        if key not in self.images:
            query = ImageQuery(name=key[0], arch=key[1], needs_gpu=key[2])
            try:
                self.images[key] = self.provider.resolve_image(query)
            except NotFoundError as error:
                self.images[key] = error
        return self.images[key]

    def _out_of_stock(self, option: Option) -> Refusal:
        offering = option.offering
        minutes = int((self.now - self.stockouts[offering.key]).total_seconds() // 60)
        when = "just now" if minutes < 1 else f"{minutes} min ago"
        return Refusal(offering=offering, need=option.need, stage=Stage.STOCK, reason=f"out of stock {when}")

    def _rank(self, index: int, option: Option) -> tuple[Any, ...]:
        """What is tried first: the order the user gave, then price, then the smallest, then the name."""
        need, offering = option.need, option.offering
        preference = 0
        if need.accelerators_ordered and offering.accelerator is not None:
            wanted = [(accelerator.name, accelerator.count) for accelerator in need.accelerators]
            has = (offering.accelerator.name, offering.accelerator.count)
            preference = wanted.index(has) if has in wanted else len(wanted)  # asked for by its type alone
        return (
            index if self.needs.ordered else 0,
            preference,
            *_by_price(option.usd_per_hour, offering),
        )

    def near_misses(self, refused: list[Refusal]) -> list[Refusal]:
        """What was refused, and where a provider sorted out by itself, what it sells beyond the question."""
        seen = {refusal.offering.key: refusal for refusal in refused}
        for need in self.needs.alternatives:
            anywhere = [replace(need, region=None, zone=None, capacity_type=how) for how in SOLD]
            for question in (*anywhere, Need(capacity_type=need.capacity_type)):
                for offering in self.provider.list_offerings(question):
                    misfit = refuse(offering, need)
                    if misfit is not None:
                        _keep_nearest(seen, misfit)
        return sorted(seen.values(), key=_nearest_first)


def _first(ranked: tuple[tuple[Any, ...], Option]) -> tuple[Any, ...]:
    return ranked[0]


def _by_price(usd_per_hour: Decimal | None, offering: Offering) -> tuple[Any, ...]:
    return (
        usd_per_hour is None,
        usd_per_hour or 0,
        offering.vcpus,
        offering.memory_gib,
        offering.region,
        offering.zone,
        offering.instance_type,
        offering.capacity_type,
    )


def _nearest_first(refusal: Refusal) -> tuple[Any, ...]:
    price = refusal.offering.price
    return (-refusal.stage, *_by_price(None if price is None else price.usd_per_hour, refusal.offering))


def _keep_nearest(refusals: dict[str, Refusal], refusal: Refusal) -> None:
    known = refusals.get(refusal.offering.key)
    if known is None or refusal.stage > known.stage:
        refusals[refusal.offering.key] = refusal


def _canonical(task: Planned) -> Needs:
    """The needs with the catalogue's names; all unknown GPUs are reported at once."""
    needs = task.needs()
    mistakes: dict[Mistake, str] = {}
    alternatives = []
    for need in needs.alternatives:
        known: list[Accelerator] = []
        for asked in need.accelerators:
            try:
                facts = lookup(asked.name)
            except UnknownAccelerator as error:
                where = "resources.accelerators"
                told = located(task, needs=needs, need=need, keypath=where, message=str(error))
                mistakes[told] = asked.name
            else:
                known.append(Accelerator(facts.name, asked.count, facts.memory_gib))
        alternatives.append(replace(need, accelerators=tuple(dict.fromkeys(known))))
    if mistakes:
        raise SpecError(
            f"there is no such GPU: {', '.join(dict.fromkeys(mistakes.values()))}",
            mistakes=tuple(mistakes),
            resolution="gpuforge gpus lists every GPU with its memory and price",
        )
    return Needs(alternatives=tuple(alternatives), ordered=needs.ordered)


def to_data(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values: money as decimal text in US dollars, RFC 3339 times, unknown is null."""
    return {
        "cluster": plan.cluster_name,
        "provider": plan.provider,
        "simulated": plan.simulated,
        "num_nodes": plan.num_nodes,
        "made_at": rfc3339(plan.made_at),
        "deadline": rfc3339(plan.deadline),
        "max_duration_seconds": int(plan.max_duration.total_seconds()),
        "autostop_minutes": plan.autostop_minutes,
        "currency": "USD",
        "options": [_option_data(option) for option in plan.options],
        "excluded": [
            {**_offering_data(excluded.offering), "reason": excluded.reason} for excluded in plan.excluded
        ],
    }


def _option_data(option: Option) -> dict[str, Any]:
    image = option.image
    return {
        **_offering_data(option.offering),
        "disk_gib": option.need.disk_gib,
        "image": {
            "id": image.id,
            "family": image.family,
            "framework": image.framework,
            "cuda": image.cuda,
            "driver": image.driver,
            "os": image.os,
        },
        "gang_usd_per_hour": _money(option.usd_per_hour),
        "worst_case_usd": _money(option.worst_case_usd),
    }


def _offering_data(offering: Offering) -> dict[str, Any]:
    accelerator, price = offering.accelerator, offering.price
    return {
        "instance_type": offering.instance_type,
        "region": offering.region,
        "zone": offering.zone,
        "capacity_type": str(offering.capacity_type),
        "accelerator": None if accelerator is None else accelerator.name,
        "accelerator_count": 0 if accelerator is None else accelerator.count,
        "accelerator_memory_gib": None if accelerator is None else accelerator.memory_gib,
        "vcpus": offering.vcpus,
        "memory_gib": str(offering.memory_gib),
        "arch": offering.arch,
        "usd_per_hour": None if price is None else _money(price.usd_per_hour),
        "price_as_of": None if price is None else price.as_of.isoformat(),
        "price_source": None if price is None else price.source,
    }


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount.quantize(_MICRO, rounding=ROUND_CEILING):f}"
