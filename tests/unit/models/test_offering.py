"""Offerings name their stock."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from gpuforge.models.offering import Offering
from gpuforge.models.resources import CapacityType

L4 = Offering(
    provider="fake", region="sim-central1", zone="sim-central1-a", instance_type="sim-l4", accelerator=None,
    vcpus=4, memory_gib=Decimal(16), capacity_type=CapacityType.ON_DEMAND, price=None,
    disk_usd_per_gib_month=None,
)  # fmt: skip


def test_the_key_names_what_can_run_out():
    """A zone may have a type on demand and none of it as spot."""
    assert L4.key == "fake/sim-central1-a/sim-l4/on_demand"


def test_stocks_that_differ_have_different_keys():
    """Each of the four parts counts; a price does not."""
    others = [
        replace(L4, provider="gcp"),
        replace(L4, zone="sim-central1-b"),
        replace(L4, instance_type="sim-a100"),
        replace(L4, capacity_type=CapacityType.SPOT),
    ]

    assert len({L4.key, *(other.key for other in others)}) == 5
    assert replace(L4, disk_usd_per_gib_month=Decimal(1)).key == L4.key
