"""The pytest plug-in: fixtures for the project's own tests and for users' pipelines."""

from __future__ import annotations

import pytest

from gpuforge.testing.clock import ManualClock

__all__ = ["manual_clock"]


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that only moves when told to."""
    return ManualClock()
