"""Single values as texts, whole numbers, money and flags."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.spec.document import Written
from gpuforge.spec.scalars import flag_of, is_flag, kind_of, money_of, text_of, whole_of, written

EIGHT = Written(text="010", value=8)
YES = Written(text="yes", value=True)
FIVE = Written(text="5", value=5)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a b", "a b"), (FIVE, "5"), (7, "7"), (0.1, "0.1"), (Decimal("2.50"), "2.50"), ("", "")],
)
def test_text_is_what_is_written(value, text):
    """From YAML or from Python."""
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (EIGHT, 'YAML reads it as 8; quote it: "010"'),
        (YES, 'YAML reads it as True; quote it: "yes"'),
        (Written(text="2026-99-99", value=None), 'YAML cannot read it; quote it: "2026-99-99"'),
        (True, '"True" is not text'),
        (None, "nothing is not text"),
        ({}, "a map is not text"),
        ([], "a list is not text"),
        ("a\0b", "a zero byte"),
    ],
)
def test_what_is_no_text_or_reads_differently_is_refused(value, says):
    """Never a third value."""
    with pytest.raises(ValueError, match=says):
        text_of(value)


@pytest.mark.parametrize("value", [Written(text="0777123", value=261715), True, ["hush"]])
def test_a_refused_secret_is_not_shown(value):
    """The message says what to do without the value."""
    with pytest.raises(ValueError, match=r"put quotes around it|in quotes if in doubt") as caught:
        text_of(value, secret=True)

    assert "0777" not in str(caught.value)
    assert "hush" not in str(caught.value)


@given(st.integers(-(10**6), 10**6))
def test_whole_numbers_are_read_from_both_sides(number):
    """A YAML scalar in its own form, or a Python int."""
    assert whole_of(number) == whole_of(Written(text=str(number), value=number)) == number


@pytest.mark.parametrize("value", ["2", 2.0, True, YES, None, Written(text="2.0", value=2.0), [2]])
def test_other_values_are_no_whole_numbers(value):
    """A quoted number is text."""
    with pytest.raises(ValueError, match="is not a whole number"):
        whole_of(value)


def test_an_octal_number_is_refused_with_its_reading():
    """The user sees what other tools would take."""
    with pytest.raises(ValueError, match="YAML reads 010 as 8"):
        whole_of(EIGHT)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (400, "400"), (2.5, "2.5"), (Decimal("3.10"), "3.10"), ("3.10", "3.10"), (FIVE, "5"),
        (Written(text="3.10", value=3.1), "3.10"), (1e-05, "0.00001"),
    ],
)  # fmt: skip
def test_money_is_what_is_written(value, amount):
    """3.10 stays 3.10, although YAML reads 3.1."""
    assert str(money_of(value)) == amount


@pytest.mark.parametrize(
    "value", [EIGHT, YES, True, 0, -1, float("nan"), float("inf"), None, {}, Written(text="1:30", value=90)]
)
def test_other_values_are_no_money(value):
    """Nothing is guessed about an amount."""
    with pytest.raises(ValueError, match="is not an amount of money"):
        money_of(value)


@pytest.mark.parametrize(
    ("value", "flag"), [(True, True), (False, False), (YES, True), (Written(text="off", value=False), False)]
)
def test_flags_are_yaml_booleans(value, flag):
    """In all of YAML 1.1's words."""
    assert flag_of(value) is flag
    assert is_flag(value)


@pytest.mark.parametrize("value", ["true", 1, FIVE, None, [], "yes"])
def test_other_values_are_no_flags(value):
    """A quoted word is text."""
    assert not is_flag(value)
    with pytest.raises(ValueError, match="is neither true nor false"):
        flag_of(value)


def test_kinds_have_words():
    """For messages."""
    kinds = [kind_of(value) for value in (None, {}, [], (), EIGHT, "x", 5)]

    assert kinds == ["nothing", "a map", "a list", "a list", '"010"', '"x"', '"5"']


def test_written_is_the_text_even_where_yaml_reads_a_number():
    """The grammars refuse it with their own fix."""
    assert [written(value) for value in (EIGHT, "x", 5)] == ["010", "x", "5"]
