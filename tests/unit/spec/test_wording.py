"""User text made safe to print, and hints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.spec.wording import closest, counted, did_you_mean, join_or, printable, quoted


@given(st.text())
def test_anything_becomes_one_printable_line(text):
    """No escape sequence of a file reaches a terminal."""
    assert printable(text).isprintable()


def test_ordinary_text_stays_as_it_is():
    """Umlauts and snowmen included."""
    assert printable("é ☃ x") == "é ☃ x"
    assert printable("a\x1b[31m\nb\u202e") == r"a\x1b[31m\nb\u202e"


def test_long_text_is_shortened_in_quotes():
    """A message stays a line."""
    assert quoted("x" * 200) == '"' + "x" * 59 + '…"'
    assert quoted("x" * 60) == '"' + "x" * 60 + '"'


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("acelerators", "accelerators"),
        ("Accelerators", "accelerators"),
        ("num_node", "num_nodes"),
        ("zzz", None),
        ("", None),
    ],
)
def test_the_nearest_known_word_is_found(word, near):
    """Case does not matter; nothing near is nothing."""
    assert closest(word, ["accelerators", "num_nodes", "name"]) == near


def test_a_hint_is_a_clause_or_nothing():
    """It is appended to a sentence."""
    assert did_you_mean("nam", ["name"]) == '; did you mean "name"?'
    assert did_you_mean("xyz", ["name"]) == ""


def test_lists_and_counts_read_as_english():
    """For the sentences of this package."""
    assert [join_or(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a or b",
        "a, b or c",
    ]
    assert [counted(n, "mistake") for n in (0, 1, 2)] == ["0 mistakes", "1 mistake", "2 mistakes"]
