"""Numbers as people read them."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta

import pytest

from gpuforge.cli import layout, words
from gpuforge.models import money, sync

NOW = datetime(2026, 11, 25, 15, 40, tzinfo=UTC)


@pytest.mark.parametrize("module", [words, layout, sync, money], ids=lambda module: module.__name__)
def test_what_docstrings_show_is_true(module):
    """Examples are run."""
    failed, tried = doctest.testmod(module)

    assert (failed, tried > 0) == (0, True)


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (timedelta(), "0 s"),
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=59.6), "1 min"),
        (timedelta(minutes=5, seconds=59), "5 min"),
        (timedelta(hours=26), "1 d 2 h"),
        (timedelta(days=2, minutes=5), "2 d 5 min"),
    ],
)
def test_spans_are_told_in_their_two_largest_units(length, told):
    """A number never stands without its unit."""
    assert words.span(length) == told


def test_moments_are_told_as_shortly_as_they_are_clear():
    """Today by the clock, this week by the day, else by the date."""
    now = datetime.now().astimezone()
    today = now.replace(hour=12, minute=5)

    assert words.clock_time(today) == "12:05"
    assert words.clock_time(today + timedelta(days=2)) == (today + timedelta(days=2)).strftime("%a 12:05")
    assert words.clock_time(datetime(2031, 1, 2, 3, 4).astimezone()) == "2031-01-02 03:04"


def test_ends_are_told_with_what_is_left():
    """Both the moment and the wait; a passed one says so."""
    later = NOW + timedelta(hours=5, minutes=12)

    assert words.until(later, NOW) == f"{words.clock_time(later)}, in 5 h 12 min"
    assert words.until(NOW, later) == f"{words.clock_time(NOW)}, passed"
    assert words.ago(NOW, later) == "5 h 12 min ago"


def test_paths_are_told_from_the_home_folder(tmp_path, monkeypatch):
    """Shorter, and the same for everybody who reads over a shoulder."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert words.from_home(tmp_path / "src" / "train") == "~/src/train"
    assert words.from_home(tmp_path) == "~"
    assert words.from_home(tmp_path.parent / "other") == str(tmp_path.parent / "other")
