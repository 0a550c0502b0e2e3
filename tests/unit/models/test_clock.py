"""The computer's own clock, and how moments are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from gpuforge.models.clock import SystemClock, rfc3339


def test_wall_time_is_aware_utc():
    """A naive time would be read in the wrong zone."""
    assert SystemClock().now().tzinfo is UTC


def test_monotonic_never_goes_back():
    """Even across a sleep, which a negative number does not make fail."""
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(-1)
    clock.sleep(0.001)

    assert clock.monotonic() > before


def test_moments_are_written_in_utc_with_whole_seconds():
    """Whatever zone they come in."""
    moment = datetime(2026, 11, 25, 10, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert rfc3339(moment) == "2026-11-25T09:30:00Z"
