"""The user's limits: what breaks them, in words, and which duration would keep them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpuforge.cost.estimate import worst_case_usd
from gpuforge.cost.limits import affordable_duration, over_hourly, over_total
from gpuforge.models.resources import CapacityType


@pytest.mark.parametrize("check", [over_hourly, over_total])
def test_no_limit_is_never_broken(check):
    assert check(Decimal(10**9), None) == ""
    assert check(None, None) == ""


@pytest.mark.parametrize("check", [over_hourly, over_total])
def test_a_limit_may_be_met_exactly(check):
    assert check(Decimal("1.50"), Decimal("1.5")) == ""


def test_a_dearer_price_is_said_with_both_figures():
    assert over_hourly(Decimal("88.49"), Decimal(50)) == "$88.49/h is above max_hourly_cost $50.00/h"
    assert over_total(Decimal("4.31"), Decimal(2)) == "may cost $4.31, above max_cost $2.00"


@pytest.mark.parametrize("check", [over_hourly, over_total])
def test_an_unknown_price_cannot_keep_a_limit(check):
    assert check(None, Decimal(5)).startswith("price unknown")


def test_the_affordable_duration_leaves_room_for_lateness():
    spot = affordable_duration(Decimal(1), Decimal("1.05"), capacity_type=CapacityType.SPOT)
    assert spot == timedelta(hours=1)


def test_a_third_of_an_hour_is_not_lost_to_rounding():
    assert affordable_duration(Decimal(3), Decimal(1), capacity_type=CapacityType.SPOT) == timedelta(
        minutes=17
    )


def test_less_than_a_minute_is_not_affordable():
    assert affordable_duration(Decimal(100), Decimal("0.10"), capacity_type=CapacityType.ON_DEMAND) is None


@pytest.mark.parametrize("price", ["0", "0.000000000000001"])
def test_what_costs_next_to_nothing_is_affordable_for_ever(price):
    assert (
        affordable_duration(Decimal(price), Decimal(1000), capacity_type=CapacityType.SPOT) == timedelta.max
    )


@settings(deadline=None)  # a busy computer is no defect
@example(Decimal("0.0288"), Decimal("34.23"), CapacityType.ON_DEMAND)
@given(
    st.decimals(min_value="0.01", max_value=1000, places=4),
    st.decimals(min_value="0.01", max_value=10000, places=2),
    st.sampled_from(CapacityType),
)
def test_the_affordable_duration_fits_and_a_minute_more_does_not(price, limit, capacity):
    fits = affordable_duration(price, limit, capacity_type=capacity)
    longest = timedelta(0) if fits is None else fits
    minute = timedelta(minutes=1)
    assert worst_case_usd(price, max_duration=longest + minute, capacity_type=capacity) > limit
    if fits is not None:
        assert worst_case_usd(price, max_duration=fits, capacity_type=capacity) <= limit
