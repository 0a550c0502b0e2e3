"""Holding a cluster: its lock and a new epoch come together."""

from __future__ import annotations

import pytest

from gpuforge.errors import StateError
from gpuforge.provision.hold import hold, try_hold
from gpuforge.state.journal import RowKind
from gpuforge.state.locks import is_locked


def test_a_hold_is_a_lock_and_a_new_epoch(context, paths):
    with hold(context, "train", uuid="uuid", verb="up") as first:
        assert is_locked(paths, "train")
        first.write(first.row(RowKind.RESERVE, attempt=1))
    with hold(context, "train", uuid="uuid", verb="down") as second:
        assert second.epoch > first.epoch
        second.check()
        with pytest.raises(StateError, match="took this cluster over"):
            first.check()
        with pytest.raises(StateError, match="took this cluster over"):
            first.write(first.row(RowKind.ACK, attempt=1))

    assert not is_locked(paths, "train")
    leases = [row.body["verb"] for row in context.journal.rows("uuid") if row.kind is RowKind.LEASE]
    assert leases == ["up", "down"]


def test_trying_does_not_wait_and_writes_nothing_when_it_is_held(context, manual_clock):
    with hold(context, "train", uuid="uuid", verb="up"):
        rows = len(context.journal.rows())
        with try_hold(context, "train", uuid="uuid", verb="gc") as held:
            assert held is None
        assert len(context.journal.rows()) == rows

    with try_hold(context, "train", uuid="uuid", verb="gc") as held:
        assert held is not None
    assert manual_clock.slept == []
