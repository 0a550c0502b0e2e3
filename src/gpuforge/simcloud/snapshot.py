"""The cloud as it was a while ago: what a list that lags behind shows. Pure."""

from __future__ import annotations

from dataclasses import replace

from gpuforge.simcloud.instances import InstanceRow, Status

__all__ = ["as_it_was"]


def as_it_was(row: InstanceRow, moment: float) -> InstanceRow | None:
    """``row`` as seen at ``moment``; ``None`` where it was not there yet, or no longer.

    A fresh instance is hidden and a dead one still shown as running, the two lies a stale list tells.
    """
    if row.created > moment:
        return None
    if row.status is not Status.DELETED:
        return row
    if row.ended is None or row.ended <= moment:
        return None
    return replace(row, status=Status.RUNNING, reason="", ending=None, ended=None)
