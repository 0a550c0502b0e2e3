"""Whether an offering meets a need, and if not, why not, in the user's words. Pure; money comes elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING

from gpuforge.catalog.accelerators import UnknownAccelerator, lookup
from gpuforge.models.resources import Bound, CapacityType

if TYPE_CHECKING:
    from gpuforge.models.image import Image
    from gpuforge.models.offering import Offering
    from gpuforge.models.resources import Accelerator, Need

__all__ = ["Refusal", "Stage", "image_refusal", "in_words", "refuse"]

# a machine with one vCPU is no place to install things; it is had by asking for it
_DEFAULT_CPUS = Bound(minimum=Decimal(2))


class Stage(IntEnum):
    """The checks in their order; the further an offering got, the nearer it is to what was asked."""

    TYPE = 1
    GPU = 2
    COUNT = 3
    SIZE = 4
    CAPACITY = 5
    RESTRICTION = 6
    PLACE = 7
    IMAGE = 8
    DISK = 9
    HOURLY = 10
    TOTAL = 11
    STOCK = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why one offering does not do for one need.

    Attributes:
        stage: The check that failed.
        reason: In the user's words.
        advice: What to do, where the check itself knows.
    """

    offering: Offering
    need: Need
    stage: Stage
    reason: str
    advice: str = ""


def in_words(capacity_type: CapacityType) -> str:
    """How capacity is bought, in words that follow "sold": ``on demand``, ``as spot``."""
    if capacity_type is CapacityType.ON_DEMAND:
        return "on demand"
    return f"as {str(capacity_type).replace('_', ' ')}"


def refuse(offering: Offering, need: Need) -> Refusal | None:
    """The first check that fails, or ``None`` when hardware, capacity type and place all fit.

    Args:
        offering: Any offering.
        need: With canonical GPU names.
    """
    for stage, reason in (
        (Stage.TYPE, _type_reason(offering, need)),
        *_gpu_reasons(offering, need),
        (Stage.SIZE, _size_reason(offering, need)),
        (Stage.CAPACITY, _capacity_reason(offering, need)),
        (Stage.RESTRICTION, offering.restriction),
        (Stage.PLACE, _place_reason(offering, need)),
    ):
        if reason:
            return Refusal(offering=offering, need=need, stage=stage, reason=reason)
    return None


def _type_reason(offering: Offering, need: Need) -> str:
    wanted = need.instance_type
    if wanted is None or offering.instance_type == wanted:
        return ""
    # a type with GPUs attached ("n1-standard-4+1xT4") is also meant by its plain name when GPUs are asked for
    if need.accelerators and offering.instance_type.partition("+")[0] == wanted:
        return ""
    return f"is not {wanted}"


def _gpu_reasons(offering: Offering, need: Need) -> tuple[tuple[Stage, str], ...]:
    has = offering.accelerator
    if not need.accelerators:
        unwanted = has is not None and need.instance_type is None
        return ((Stage.GPU, f"has GPUs ({has}), none was asked for" if unwanted else ""),)
    asked = " or ".join(str(accelerator) for accelerator in need.accelerators)
    if has is None:
        return ((Stage.GPU, f"no GPU, not {asked}"),)
    counts = [accelerator.count for accelerator in need.accelerators if accelerator.name == has.name]
    if not counts:
        return ((Stage.GPU, f"has {has}, not {asked}"),)
    return ((Stage.COUNT, _count_reason(has, counts)),)


def _count_reason(has: Accelerator, counts: list[int]) -> str:
    if has.count in counts:
        return ""
    noun = "GPU" if has.count == 1 else "GPUs"
    return f"{has.count} {noun}, {'too few' if has.count < min(counts) else 'too many'}"


def _size_reason(offering: Offering, need: Need) -> str:
    cpus = need.cpus
    if cpus is None and not need.accelerators and need.instance_type is None:
        cpus = _DEFAULT_CPUS
    if cpus is not None and not cpus.admits(offering.vcpus):
        return f"{offering.vcpus} vCPU, needs {cpus}"
    if need.memory_gib is not None and not need.memory_gib.admits(offering.memory_gib):
        return f"{offering.memory_gib} GiB of memory, needs {need.memory_gib}"
    return ""


def _capacity_reason(offering: Offering, need: Need) -> str:
    if offering.capacity_type is need.capacity_type:
        return ""
    return f"sold {in_words(offering.capacity_type)}, asked {in_words(need.capacity_type)}"


def _place_reason(offering: Offering, need: Need) -> str:
    if need.zone is not None and offering.zone != need.zone:
        return f"not in {need.zone}"
    if need.region is not None and offering.region != need.region:
        return f"not in {need.region}"
    return ""


def image_refusal(offering: Offering, need: Need, image: Image) -> Refusal | None:
    """Whether the image runs on the offering's GPUs and fits on the disk that was asked for."""
    reason = _driver_reason(offering, image)
    if reason:
        return Refusal(offering=offering, need=need, stage=Stage.IMAGE, reason=reason)
    if need.disk_gib < image.min_disk_gib:
        reason = f"disk of {need.disk_gib} GB is smaller than the image ({image.min_disk_gib} GB)"
        return Refusal(offering=offering, need=need, stage=Stage.DISK, reason=reason)
    return None


def _driver_reason(offering: Offering, image: Image) -> str:
    if offering.accelerator is None or not image.driver.isdecimal():
        return ""
    try:
        facts = lookup(offering.accelerator.name)
    except UnknownAccelerator:  # a provider may sell what the table does not know yet
        return ""
    driver, name = int(image.driver), image.family or image.id
    if driver < facts.min_driver:
        return f"driver {driver} of {name} is too old for {facts.name} (needs {facts.min_driver})"
    if facts.max_driver is not None and driver > facts.max_driver:
        return f"driver {driver} of {name} no longer runs {facts.name} (needs {facts.max_driver} or older)"
    return ""
