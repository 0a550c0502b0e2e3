"""Needs, bounds and marks."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.models.resources import Accelerator, Bound, CapacityType, Mark, Need, Needs

NUMBERS = st.decimals(min_value=0, max_value=10**6, places=2)


def test_an_accelerator_shows_as_the_user_writes_it():
    """Name and count."""
    assert str(Accelerator("A100-80GB", count=4)) == "A100-80GB:4"
    assert str(Accelerator("L4")) == "L4:1"


def test_a_mark_shows_as_file_line_column():
    """What editors and terminals jump to."""
    assert str(Mark(file="a b.yaml", line=7, column=3, snippet="x")) == "a b.yaml:7:3"


@pytest.mark.parametrize(
    ("bound", "inside", "outside", "text"),
    [
        (Bound(minimum=Decimal(4), maximum=Decimal(4)), [4], [3, 5, 4.5], "4"),
        (Bound(minimum=Decimal(4)), [4, 400], [3.99], "4+"),
        (Bound(minimum=Decimal(4), maximum=Decimal(8)), [4, 6.5, 8], [3, 9], "4..8"),
        (Bound(maximum=Decimal(8)), [0, 8], [8.1], "..8"),
    ],
    ids=["exactly", "at least", "between", "at most"],
)
def test_a_bound_admits_what_lies_within_its_ends(bound, inside, outside, text):
    """Both ends belong to it."""
    assert all(bound.admits(value) for value in inside)
    assert not any(bound.admits(value) for value in outside)
    assert str(bound) == text


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_bound_between_two_numbers_is_the_comparison(low, high, value):
    """For decimals as for floats of few digits."""
    assert Bound(minimum=low, maximum=high).admits(value) == (low <= value <= high)


def test_a_need_is_on_demand_with_a_small_disk_unless_it_says_so():
    """Spot and size are choices."""
    need = Need()

    assert need.capacity_type is CapacityType.ON_DEMAND
    assert need.disk_gib == 50
    assert Needs(alternatives=(need,)).ordered is False


def test_needs_are_values():
    """They can be keys, so that equal alternatives are found."""
    assert len({Need(cpus=Bound(minimum=Decimal(4))), Need(cpus=Bound(minimum=Decimal(4)))}) == 1
