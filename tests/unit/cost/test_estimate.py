"""What a gang costs by the hour and at most: exact, disks included, and unknown when a part is."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuforge.cost.estimate import disk_usd_per_hour, gang_usd_per_hour, lateness, worst_case_usd
from gpuforge.models.money import Price
from gpuforge.models.offering import Offering
from gpuforge.models.resources import CapacityType


def offering(price="0.50", disk="0.146"):
    return Offering(
        provider="fake",
        region="r",
        zone="r-a",
        instance_type="t",
        accelerator=None,
        vcpus=4,
        memory_gib=Decimal(16),
        capacity_type=CapacityType.ON_DEMAND,
        price=None
        if price is None
        else Price(usd_per_hour=Decimal(price), as_of=date(2026, 7, 30), source="x"),
        disk_usd_per_gib_month=None if disk is None else Decimal(disk),
    )


def test_a_disk_costs_its_month_over_730_hours():
    assert disk_usd_per_hour(offering(), 50) == Decimal("0.01")


def test_a_gang_costs_every_node_and_its_disk():
    assert gang_usd_per_hour(offering(), num_nodes=3, disk_gib=50) == Decimal("1.53")


def test_a_fraction_of_a_millionth_is_rounded_up():
    assert gang_usd_per_hour(offering(disk="0.1"), num_nodes=1, disk_gib=50) == Decimal("0.506850")


@pytest.mark.parametrize("part", [{"price": None}, {"disk": None}])
def test_an_unknown_part_makes_the_whole_unknown(part):
    assert gang_usd_per_hour(offering(**part), num_nodes=1, disk_gib=50) is None


def test_the_worst_case_includes_the_clouds_lateness():
    hour = timedelta(hours=1)
    on_demand = worst_case_usd(Decimal(100), max_duration=hour, capacity_type=CapacityType.ON_DEMAND)
    spot = worst_case_usd(Decimal(100), max_duration=hour, capacity_type=CapacityType.SPOT)
    assert (on_demand.quantize(Decimal("0.0001")), spot) == (Decimal("104.1667"), Decimal(105))


def test_an_unknown_price_has_an_unknown_worst_case():
    assert worst_case_usd(None, max_duration=timedelta(1), capacity_type=CapacityType.SPOT) is None


def test_spot_may_end_later_than_the_others():
    assert lateness(CapacityType.SPOT) == timedelta(seconds=180)
    assert {lateness(c) for c in CapacityType if c is not CapacityType.SPOT} == {timedelta(seconds=150)}


@settings(deadline=None)  # a busy computer is no defect
@given(
    st.decimals(min_value=0, max_value=1000, places=6),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=120)),
    st.sampled_from(CapacityType),
)
def test_the_worst_case_is_never_below_price_times_duration(price, span, capacity):
    seconds = Decimal(span // timedelta(microseconds=1)) / 1_000_000
    worst = worst_case_usd(price, max_duration=span, capacity_type=capacity)
    assert worst >= price * seconds / 3600 * Decimal("0.999999999")
