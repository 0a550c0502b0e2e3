"""Money keeps its cents."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.models.money import HOURS_PER_MONTH, Price, format_usd, hours


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("0.0041", "$0.005"),
        ("0.0999", "$0.100"),
        ("0.1", "$0.10"),
        ("4.301", "$4.31"),
        ("88.49", "$88.49"),
        ("1234567.5", "$1,234,567.50"),
    ],
)
def test_amounts_are_rounded_up_to_what_a_person_reads(amount, text):
    """A bill is never shown smaller than it is."""
    assert format_usd(Decimal(amount)) == text


def test_an_unknown_amount_stays_unknown():
    """It is not zero."""
    assert format_usd(None) == "unknown"


@given(st.decimals(min_value="0", max_value="1e9", places=4))
def test_no_amount_is_shown_smaller(amount):
    """For any amount."""
    assert Decimal(format_usd(amount).replace("$", "").replace(",", "")) >= amount


def test_hours_are_exact():
    """Six hours are six, and a microsecond is not lost."""
    assert hours(timedelta(hours=6)) == 6
    assert hours(timedelta(minutes=90)) == Decimal("1.5")
    assert hours(timedelta(microseconds=3600)) == Decimal("0.000001")


def test_a_price_knows_its_day_and_source():
    """A number without a date is a rumour."""
    price = Price(usd_per_hour=Decimal("0.71"), as_of=date(2026, 7, 30), source="list")

    assert (price.usd_per_hour, price.as_of, price.source) == (Decimal("0.71"), date(2026, 7, 30), "list")
    assert HOURS_PER_MONTH == 730
