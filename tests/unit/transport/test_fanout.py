"""Fan-out: bounded, ordered, and every failure is told."""

from __future__ import annotations

import threading

import pytest

from gpuforge.errors import ConnectError
from gpuforge.transport.fanout import each


def test_results_come_in_the_order_of_the_items():
    """Whatever finishes first."""
    gate = threading.Event()

    def function(item):
        if item == 0:
            assert gate.wait(20)
        else:
            gate.set()
        return item * 2

    assert each([0, 1, 2], function) == [0, 2, 4]
    assert each([], function) == []
    gate.set()
    assert each([5], function) == [10]


def test_no_more_run_at_once_than_the_limit():
    """And that many do."""
    barrier = threading.Barrier(3)
    running: list[int] = []
    most: list[int] = []

    def function(item):
        running.append(item)
        most.append(len(running))
        barrier.wait(20)
        running.remove(item)

    each(range(9), function, limit=3)
    assert max(most) <= 3


def test_the_first_failure_in_order_is_raised_after_all_ended():
    """The others are notes on it."""
    ended: list[int] = []

    def function(item):
        ended.append(item)
        if item in (1, 3):
            raise ConnectError(f"node {item}")
        return item

    with pytest.raises(ConnectError, match="node 1") as caught:
        each(range(5), function, limit=2)
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert caught.value.__notes__ == ["also failed, for 3: ConnectError: node 3"]


def test_a_single_failure_carries_no_note():
    """One item is called as it is."""

    def function(item):
        raise ConnectError(f"node {item}")

    with pytest.raises(ConnectError) as caught:
        each(["x"], function)
    assert not hasattr(caught.value, "__notes__")
