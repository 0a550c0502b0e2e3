"""The rows of ``gpuforge gpus``: one per instance type, cheapest region, and what a filter means."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from gpuforge.catalog.catalog import gce_offerings
from gpuforge.catalog.summary import summarise
from gpuforge.errors import SpecError
from gpuforge.models.money import Price
from gpuforge.models.offering import Offering
from gpuforge.models.resources import Accelerator, CapacityType


def offering(instance_type="t", region="r1", price="1.0", capacity=CapacityType.ON_DEMAND, **other):
    money = None if price is None else Price(usd_per_hour=Decimal(price), as_of=date(2026, 7, 30), source="x")
    values = {
        "provider": "fake",
        "region": region,
        "zone": f"{region}-a",
        "instance_type": instance_type,
        "accelerator": Accelerator("L4", 1, 24),
        "vcpus": 4,
        "memory_gib": Decimal(16),
        "capacity_type": capacity,
        "price": money,
        "disk_usd_per_gib_month": None,
    }
    return Offering(**{**values, **other})


def test_a_row_counts_regions_and_names_the_cheapest():
    (row,) = summarise(
        [
            offering(region="r2", price="2"),
            offering(region="r1", price="3"),
            offering(region="r3", price=None),
        ]
    )
    assert row.regions == ("r1", "r2", "r3")
    assert (row.cheapest, row.on_demand_usd_hr) == ("r2", Decimal(2))


def test_spot_is_shown_for_the_cheapest_region_and_the_lowest_apart():
    (row,) = summarise(
        [
            offering(region="r1", price="1"),
            offering(region="r2", price="2"),
            offering(region="r1", price="0.9", capacity=CapacityType.SPOT),
            offering(region="r2", price="0.1", capacity=CapacityType.SPOT),
        ]
    )
    assert row.spot_usd_hr == Decimal("0.9")
    assert (row.lowest_spot_region, row.lowest_spot_usd_hr) == ("r2", Decimal("0.1"))


def test_what_is_not_sold_on_demand_is_ranked_by_spot_and_says_so():
    (row,) = summarise(
        [
            offering(price="1", restriction="not sold on demand"),
            offering(price="0.4", capacity=CapacityType.SPOT),
        ]
    )
    assert (row.on_demand_usd_hr, row.on_demand_note) == (None, "not sold on demand")
    assert (row.cheapest, row.spot_usd_hr, row.spot_note) == ("r1", Decimal("0.4"), "")


def test_unknown_prices_leave_the_cheapest_unknown():
    (row,) = summarise([offering(price=None)])
    assert (row.cheapest, row.on_demand_usd_hr, row.spot_usd_hr, row.as_of) == (None, None, None, None)


def test_machines_without_a_gpu_are_left_out():
    assert summarise([offering(accelerator=None)]) == ()


def test_rows_are_ordered_by_gpu_then_count_then_size():
    rows = summarise(
        [
            offering("d", accelerator=Accelerator("T4", 1, 16)),
            offering("c", accelerator=Accelerator("L4", 8, 24)),
            offering("b", vcpus=8),
            offering("a"),
        ]
    )
    assert [row.instance_type for row in rows] == ["a", "b", "c", "d"]


def test_a100_does_not_match_the_80_gb_card():
    assert {row.gpu for row in summarise(gce_offerings(), "a100-40gb")} == {"A100"}
    assert {row.gpu for row in summarise(gce_offerings(), "A100-80GB")} == {"A100-80GB"}


def test_a_count_narrows_the_filter():
    assert {row.instance_type for row in summarise(gce_offerings(), "H100:8")} == {"a3-highgpu-8g"}


def test_a_part_of_an_instance_type_or_region_is_a_filter_too():
    assert {row.gpu for row in summarise(gce_offerings(), "G2-standard")} == {"L4"}
    assert {row.regions for row in summarise(gce_offerings(), "me-west1")} == {("me-west1",)}


def test_a_filter_that_matches_nothing_says_what_was_meant():
    with pytest.raises(SpecError) as caught:
        summarise(gce_offerings(), "H10")
    assert "did you mean" in caught.value.details
    assert "A100-80GB" in caught.value.resolution


def test_a_gpu_that_nobody_sells_is_said_so():
    with pytest.raises(SpecError, match="nobody here sells T4"):
        summarise([offering()], "T4")
    with pytest.raises(SpecError) as caught:
        summarise([], "T4")
    assert caught.value.resolution == "gpuforge gpus"


def test_every_shipped_row_is_dated():
    rows = summarise(gce_offerings())
    assert len(rows) > 40
    assert all(row.as_of is not None for row in rows if row.cheapest)
