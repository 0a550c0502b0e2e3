"""Whether an offering meets a need: each check, its reason in words, and that the nearest miss is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from gpuforge.models.image import Image
from gpuforge.models.offering import Offering
from gpuforge.models.resources import Accelerator, Bound, CapacityType, Need
from gpuforge.provision.match import Stage, image_refusal, in_words, refuse

OFFERING = Offering(
    provider="fake",
    region="r1",
    zone="r1-a",
    instance_type="sim-l4",
    accelerator=Accelerator("L4", 1, 24),
    vcpus=4,
    memory_gib=Decimal(16),
    capacity_type=CapacityType.ON_DEMAND,
    price=None,
    disk_usd_per_gib_month=None,
)
PLAIN = replace(OFFERING, instance_type="sim-cpu", accelerator=None)
L4 = Need(accelerators=(Accelerator("L4", 1, 24),))
IMAGE = Image(
    provider="fake",
    id="i",
    family="pytorch",
    framework="pytorch-2.9",
    cuda="12.9",
    driver="580",
    os="ubuntu-24.04",
    arch="x86_64",
    created=date(2026, 1, 1),
    min_disk_gib=40,
)


@pytest.mark.parametrize(
    "need",
    [
        L4,
        Need(accelerators=(Accelerator("A100", 8), Accelerator("L4", 1))),
        replace(L4, region="r1", zone="r1-a", instance_type="sim-l4"),
        replace(L4, cpus=Bound(minimum=Decimal(4)), memory_gib=Bound(maximum=Decimal(16))),
        Need(instance_type="sim-l4"),
    ],
)
def test_what_fits_is_not_refused(need):
    assert refuse(OFFERING, need) is None


@pytest.mark.parametrize(
    ("offering", "need", "stage", "reason"),
    [
        (OFFERING, replace(L4, instance_type="sim-t4"), Stage.TYPE, "is not sim-t4"),
        (OFFERING, Need(accelerators=(Accelerator("T4"),)), Stage.GPU, "has L4:1, not T4:1"),
        (PLAIN, L4, Stage.GPU, "no GPU, not L4:1"),
        (OFFERING, Need(), Stage.GPU, "has GPUs (L4:1), none was asked for"),
        (OFFERING, Need(accelerators=(Accelerator("L4", 4),)), Stage.COUNT, "1 GPU, too few"),
        (
            replace(OFFERING, accelerator=Accelerator("L4", 8)),
            L4,
            Stage.COUNT,
            "8 GPUs, too many",
        ),
        (OFFERING, replace(L4, cpus=Bound(minimum=Decimal(8))), Stage.SIZE, "4 vCPU, needs 8+"),
        (
            OFFERING,
            replace(L4, memory_gib=Bound(minimum=Decimal(32), maximum=Decimal(64))),
            Stage.SIZE,
            "16 GiB of memory, needs 32..64",
        ),
        (
            OFFERING,
            replace(L4, capacity_type=CapacityType.SPOT),
            Stage.CAPACITY,
            "sold on demand, asked as spot",
        ),
        (
            replace(OFFERING, restriction="not sold on demand"),
            L4,
            Stage.RESTRICTION,
            "not sold on demand",
        ),
        (OFFERING, replace(L4, region="r2"), Stage.PLACE, "not in r2"),
        (OFFERING, replace(L4, region="r1", zone="r1-b"), Stage.PLACE, "not in r1-b"),
    ],
)
def test_a_misfit_is_refused_with_its_reason(offering, need, stage, reason):
    refusal = refuse(offering, need)
    assert (refusal.stage, refusal.reason) == (stage, reason)
    assert (refusal.offering, refusal.need) == (offering, need)


def test_a_machine_without_gpu_has_two_vcpus_unless_asked_otherwise():
    small = replace(PLAIN, vcpus=1)
    assert refuse(small, Need()).reason == "1 vCPU, needs 2+"
    assert refuse(small, Need(cpus=Bound(minimum=Decimal(1)))) is None
    assert refuse(small, Need(instance_type="sim-cpu")) is None


def test_a_type_with_attached_gpus_is_meant_by_its_plain_name_when_gpus_are_asked_for():
    attached = replace(OFFERING, instance_type="n1-standard-4+1xL4")
    assert refuse(attached, replace(L4, instance_type="n1-standard-4")) is None
    assert refuse(attached, Need(instance_type="n1-standard-4")).stage is Stage.TYPE
    assert refuse(attached, Need(instance_type="n1-standard-4+1xL4")) is None


def test_capacity_types_have_words():
    assert [in_words(c) for c in CapacityType] == [
        "on demand",
        "as spot",
        "as reserved",
        "as flex start",
    ]


def test_an_image_that_fits_is_not_refused():
    assert image_refusal(OFFERING, L4, IMAGE) is None
    assert image_refusal(PLAIN, Need(), replace(IMAGE, driver="")) is None


@pytest.mark.parametrize(
    ("gpu", "driver", "reason"),
    [
        ("B200", "550", "driver 550 of pytorch is too old for B200 (needs 570)"),
        ("V100", "580", "driver 580 of pytorch no longer runs V100 (needs 570 or older)"),
    ],
)
def test_a_driver_must_know_the_gpu(gpu, driver, reason):
    offering = replace(OFFERING, accelerator=Accelerator(gpu))
    refusal = image_refusal(offering, Need(), replace(IMAGE, driver=driver))
    assert (refusal.stage, refusal.reason) == (Stage.IMAGE, reason)


def test_a_gpu_that_the_catalogue_does_not_know_is_left_to_its_provider():
    offering = replace(OFFERING, accelerator=Accelerator("X999"))
    assert image_refusal(offering, L4, IMAGE) is None


def test_a_disk_smaller_than_the_image_is_refused():
    refusal = image_refusal(OFFERING, replace(L4, disk_gib=39), IMAGE)
    assert (refusal.stage, refusal.reason) == (
        Stage.DISK,
        "disk of 39 GB is smaller than the image (40 GB)",
    )
