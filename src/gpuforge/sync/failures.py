"""How an incomplete copy is told: one error with a row for each entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.errors import SyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuforge.sync.channel import Row

__all__ = ["incomplete", "unequal"]

_ROWS_SHOWN = 20


def incomplete(place: str, rows: Sequence[Row], total: int) -> SyncError:
    """Some rows failed; the first of them are shown, all are in ``rows``."""
    shown = [f"{path}: {reason}" for path, reason in rows[:_ROWS_SHOWN]]
    if len(rows) > _ROWS_SHOWN:
        shown.append(f"… and {len(rows) - _ROWS_SHOWN} more")
    return SyncError(
        f"{len(rows)} of {total} entries could not be copied to {place}",
        rows=rows,
        details="\n".join(shown),
        resolution="settle the rows above and run the same command again: only what is missing is sent",
    )


def unequal(place: str, here: str, there: str) -> SyncError:
    """Both ends finished, and their digests differ."""
    return SyncError(
        f"the copy to {place} is not equal on both sides",
        rows=[(place, f"digest {here[:12]} here, {there[:12]} on the machine")],
        resolution="run the same command again: the contents are compared anew",
    )
