"""The journal's schema, one step per version; a journal from a newer version is refused.

A step may add tables, columns and indexes; rows it never touches, since their hashes hold them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from gpuforge._version import __version__
from gpuforge.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["STEPS", "migrate"]


def _first_schema(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE journal (seq INTEGER PRIMARY KEY, at TEXT NOT NULL, epoch INTEGER NOT NULL,"
        " cluster TEXT NOT NULL, node TEXT NOT NULL, attempt INTEGER NOT NULL, kind TEXT NOT NULL,"
        " body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL)"
    )
    connection.execute("CREATE INDEX journal_by_cluster ON journal (cluster, kind, seq)")
    connection.execute("CREATE INDEX journal_by_kind ON journal (kind, cluster)")
    for verb in ("UPDATE", "DELETE"):
        connection.execute(
            f"CREATE TRIGGER journal_no_{verb.lower()} BEFORE {verb} ON journal"
            " BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
        )


STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first_schema,)


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    *,
    steps: Sequence[Callable[[sqlite3.Connection], None]] = STEPS,
) -> None:
    """Bring the database to the newest schema; each step is one transaction, a backup comes before the first.

    Args:
        connection: In autocommit mode, alone with the file (the caller holds the opening lock).
        path: The database file; its backup lies beside it.
        steps: Step ``n`` leads from schema ``n`` to ``n + 1``.

    Raises:
        StateError: The database is of a newer schema than this version knows.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(steps):
        raise StateError(
            f"the journal {path} was written by a newer gpuforge (schema {version})",
            details=f"this is gpuforge {__version__}, which reads schemas up to {len(steps)}",
            resolution="upgrade gpuforge; nothing was changed",
        )
    if 0 < version < len(steps):
        _back_up(connection, path.with_name(f"{path.name}.schema{version}.bak"))
    for number in range(version, len(steps)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            steps[number](connection)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)
    target.chmod(0o600)
