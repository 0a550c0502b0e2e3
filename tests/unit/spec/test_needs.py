"""From a task's keys to what a machine must have."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gpuforge.models.resources import Accelerator, Bound, CapacityType, Need
from gpuforge.spec.needs import place_of


def _bare(need):
    """A need without its mark."""
    return {
        name: value
        for name in Need.__slots__
        if name != "mark" and (value := getattr(need, name)) is not None
    }


def test_nothing_asked_is_any_machine(load):
    """On demand, with the small default disk."""
    needs = load("run: x\n").needs()

    assert [_bare(need) for need in needs.alternatives] == [_bare(Need())]
    assert needs.ordered is False


def test_everything_asked(load):
    """Each key lands in its field."""
    task = load(
        "infra: fake/r/z\nresources: {gpus: L4:2, cpus: 4+, memory: 16GB+, instance_type: t, use_spot: true, "
        "disk_size: 1TB, image: i, max_hourly_cost: 2.50}\n"
    )

    assert _bare(task.needs().alternatives[0]) == _bare(
        Need(
            accelerators=(Accelerator("L4", count=2),),
            cpus=Bound(minimum=Decimal(4)),
            memory_gib=Bound(minimum=Decimal(16)),
            instance_type="t",
            capacity_type=CapacityType.SPOT,
            region="r",
            zone="z",
            disk_gib=1024,
            image="i",
            max_usd_per_hour=Decimal("2.50"),
        )
    )


@pytest.mark.parametrize(("key", "ordered"), [("any_of", False), ("ordered", True)])
def test_alternatives_inherit_what_they_leave_out(load, key, ordered):
    """And say the rest otherwise."""
    needs = load(
        f"resources:\n  cpus: 8\n  use_spot: true\n  disk_size: 99\n  {key}:\n"
        "    - {gpus: L4}\n    - {gpus: [T4, V100], use_spot: false, cpus: 4}\n    - {disk_size: 100}\n"
    ).needs()

    assert needs.ordered is ordered
    first, second, third = needs.alternatives
    assert (str(first.cpus), first.capacity_type, first.disk_gib) == ("8", CapacityType.SPOT, 99)
    assert (str(second.cpus), second.capacity_type, second.accelerators_ordered) == (
        "4",
        CapacityType.ON_DEMAND,
        True,
    )
    assert (third.accelerators, third.disk_gib) == ((), 100)


def test_marks_point_at_the_gpu_that_may_not_exist(load):
    """In the alternative, else around it, else at the alternative itself."""
    with_base = load("resources:\n  gpus: L4\n  any_of:\n    - {gpus: T4}\n    - {cpus: 4}\n").needs()
    without = load("resources:\n  any_of:\n    - {cpus: 4}\n").needs()

    assert [str(need.mark) for need in with_base.alternatives] == ["gpuforge.yaml:4:14", "gpuforge.yaml:2:9"]
    assert [str(need.mark) for need in without.alternatives] == ["gpuforge.yaml:3:7"]


def test_equal_alternatives_are_one(load):
    """After a flag made them so."""
    text = "resources: {any_of: [{gpus: L4}, {gpus: T4}, {gpus: V100, cpus: 4}]}\n"

    assert len(load(text, gpus="A100").needs().alternatives) == 2


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("infra: fake/r/z\nresources: {any_of: [{cpus: 4}]}", [("r", "z")]),
        ("infra: fake/r/z\nresources: {any_of: [{infra: fake/q}]}", [("q", None)]),
        ("infra: fake/r/z\nresources: {any_of: [{region: q}]}", [("q", None)]),
        ("infra: fake/r\nresources: {any_of: [{zone: r-a}]}", [("r", "r-a")]),
        ("infra: fake/r\nresources: {any_of: [{cloud: fake}]}", [(None, None)]),
        ("cloud: fake\nregion: r\nzone: z", [("r", "z")]),
        ("cloud: fake\nresources: {region: r, ordered: [{zone: a}, {zone: b}]}", [("r", "a"), ("r", "b")]),
    ],
)
def test_places_of_alternatives(load, text, places):
    """A new region leaves the old zone behind."""
    task = load(text)

    assert [(need.region, need.zone) for need in task.needs().alternatives] == places
    assert place_of(task, task.resources).provider == "fake"
