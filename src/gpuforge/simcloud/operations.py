"""Operations: what the simulated cloud was asked or decided to do, and how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["Operation", "OperationKind", "by_token", "close_finished", "finish", "get", "insert"]


class OperationKind(StrEnum):
    """What is done to the targets."""

    CREATE = "create"
    DELETE = "delete"  # by a client, or by the guest itself
    DEADLINE = "deadline"  # by the cloud
    PREEMPTED = "preempted"  # by the cloud
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation; times are seconds since 1970, UTC.

    Attributes:
        targets: Instance ids.
        due: When it is done, or may be.
        error_code: A :class:`~gpuforge.simcloud.refusals.Code`, or empty.
    """

    name: str
    kind: OperationKind
    zone: str
    targets: tuple[str, ...]
    inserted: float
    due: float
    is_done: bool
    error_code: str
    error_message: str
    digest: str
    forced_error: str


def insert(
    db: sqlite3.Connection,
    kind: OperationKind,
    *,
    zone: str,
    targets: Sequence[str],
    at: float,
    due: float,
    token: str | None = None,
    digest: str = "",
) -> str:
    """Record one that has begun.

    Returns:
        Its name.
    """
    (number,) = db.execute("SELECT COALESCE(MAX(seq), 0) + 1 FROM operations").fetchone()
    name = f"operation-{number}-{kind}"
    db.execute(
        "INSERT INTO operations (seq, name, kind, zone, token, digest, targets, inserted, due, status)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'RUNNING')",
        (number, name, kind, zone, token, digest, json.dumps(list(targets)), at, due),
    )
    return name


def get(db: sqlite3.Connection, name: str) -> Operation | None:
    """The operation of this name."""
    row = db.execute("SELECT * FROM operations WHERE name=?", (name,)).fetchone()
    return _operation(row) if row else None


def by_token(db: sqlite3.Connection, token: str) -> Operation | None:
    """The create that this token began, whatever became of it; tokens are remembered for ever."""
    row = db.execute("SELECT * FROM operations WHERE token=?", (token,)).fetchone()
    return _operation(row) if row else None


def finish(db: sqlite3.Connection, name: str, *, at: float, code: str = "", message: str = "") -> None:
    """Record its end."""
    db.execute(
        "UPDATE operations SET status='DONE', ended=?, error_code=?, error_message=? WHERE name=?",
        (at, code, message, name),
    )


def close_finished(db: sqlite3.Connection, name: str, *, at: float) -> None:
    """End an operation that ends instances, once none of its targets is left on its way."""
    db.execute(
        "UPDATE operations SET status='DONE', ended=? WHERE name=? AND NOT EXISTS"
        " (SELECT 1 FROM instances WHERE end_operation=? AND ending IS NOT NULL"
        "  AND status='STOPPING')",
        (at, name, name),
    )


def _operation(row: sqlite3.Row) -> Operation:
    return Operation(
        name=row["name"],
        kind=OperationKind(row["kind"]),
        zone=row["zone"],
        targets=tuple(json.loads(row["targets"])),
        inserted=row["inserted"],
        due=row["due"],
        is_done=row["status"] == "DONE",
        error_code=row["error_code"],
        error_message=row["error_message"],
        digest=row["digest"],
        forced_error=row["forced_error"],
    )
