"""The simulated cloud's one SQLite file: where it lies, its tables, and transactions on it.

Separate processes share a cloud through this file alone; every change is one ``BEGIN IMMEDIATE``
transaction. It is a simulation's state, not a journal: ``synchronous=NORMAL`` is enough. Standard library
only, since every machine's supervisor loads it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

from gpuforge.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Database"]

_VERSION = 1
_BUSY_SECONDS = 30.0

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE instances (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL, zone TEXT NOT NULL, region TEXT NOT NULL,
  instance_type TEXT NOT NULL, capacity_type TEXT NOT NULL, image TEXT NOT NULL,
  disk_gib INTEGER NOT NULL, user TEXT NOT NULL, ssh_keys TEXT NOT NULL,
  owner TEXT NOT NULL, labels TEXT NOT NULL, metadata TEXT NOT NULL, termination_action TEXT NOT NULL,
  machines TEXT NOT NULL,            -- MachineMode of this instance
  ssh_server TEXT NOT NULL,
  created REAL NOT NULL, deadline REAL NOT NULL, boot_seconds REAL NOT NULL,
  status TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
  host TEXT NOT NULL, port INTEGER NOT NULL,
  create_operation TEXT NOT NULL,
  running_since REAL,
  claimed_at REAL, claimed_by INTEGER, -- the process that starts the supervisor
  pid INTEGER, booted_at REAL,
  wanted TEXT NOT NULL DEFAULT 'run',
  reboot_count INTEGER NOT NULL DEFAULT 0, rebooted_count INTEGER NOT NULL DEFAULT 0,
  notice_at REAL, preempt_at REAL,
  ending TEXT, end_due REAL, end_operation TEXT,
  is_off INTEGER NOT NULL DEFAULT 0,   -- its supervisor said so
  keeps_disk INTEGER NOT NULL DEFAULT 0,
  ended REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX live_names ON instances (zone, name) WHERE status != 'DELETED';
CREATE INDEX live_owners ON instances (owner) WHERE status != 'DELETED';
CREATE INDEX deadlines ON instances (deadline) WHERE ending IS NULL AND status != 'DELETED';
CREATE INDEX endings ON instances (end_due) WHERE ending IS NOT NULL AND status != 'DELETED';
CREATE INDEX preemptions ON instances (preempt_at) WHERE preempt_at IS NOT NULL AND status != 'DELETED';
CREATE INDEX live_processes ON instances (machines) WHERE machines = 'processes' AND status != 'DELETED';
CREATE INDEX by_create ON instances (create_operation);
CREATE INDEX by_end ON instances (end_operation) WHERE end_operation IS NOT NULL;
CREATE INDEX tombstones ON instances (name, ended);
CREATE TABLE operations (
  seq INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, zone TEXT NOT NULL,
  token TEXT UNIQUE, digest TEXT NOT NULL DEFAULT '', targets TEXT NOT NULL,
  inserted REAL NOT NULL, due REAL NOT NULL, status TEXT NOT NULL, ended REAL,
  error_code TEXT NOT NULL DEFAULT '', error_message TEXT NOT NULL DEFAULT '',
  forced_error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX running_creates ON operations (due, seq) WHERE kind = 'create' AND status != 'DONE';
CREATE TABLE disks (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, zone TEXT NOT NULL, size_gib INTEGER NOT NULL,
  owner TEXT NOT NULL, labels TEXT NOT NULL, instance_id TEXT NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE attributes (
  instance_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (instance_id, key)
) WITHOUT ROWID;
CREATE TABLE stockouts (
  zone TEXT NOT NULL, instance_type TEXT NOT NULL, capacity_type TEXT NOT NULL, until REAL NOT NULL,
  PRIMARY KEY (zone, instance_type, capacity_type)
) WITHOUT ROWID;
CREATE TABLE stock (
  zone TEXT NOT NULL, instance_type TEXT NOT NULL, total INTEGER NOT NULL, PRIMARY KEY (zone, instance_type)
) WITHOUT ROWID;
CREATE TABLE quotas (
  region TEXT NOT NULL, metric TEXT NOT NULL, units INTEGER NOT NULL, PRIMARY KEY (region, metric)
) WITHOUT ROWID;
CREATE TABLE faults (
  seq INTEGER PRIMARY KEY, call TEXT NOT NULL, fate TEXT NOT NULL, argument TEXT NOT NULL,
  skip INTEGER NOT NULL, times INTEGER NOT NULL
);
CREATE TABLE late_requests (
  seq INTEGER PRIMARY KEY, due REAL NOT NULL, call TEXT NOT NULL, token TEXT NOT NULL, body BLOB NOT NULL
);
"""


class Database:
    """Transactions on ``<folder>/cloud.sqlite3``; safe from many threads and processes.

    Args:
        folder: Of the cloud.
        first: Fills a new cloud; with it, a missing one is made on first use, and without, it is an error.
    """

    def __init__(self, folder: Path, *, first: Callable[[sqlite3.Connection], None] | None = None) -> None:
        self.folder = folder
        self.path = folder / "cloud.sqlite3"
        self._first = first
        self._lock = threading.Lock()
        self._anchor: sqlite3.Connection | None = None

    def exists(self) -> bool:
        """A cloud was made here."""
        return self.path.exists()

    def _hold(self) -> None:
        # One connection stays open: when the last one closes, SQLite checkpoints with an fsync, which
        # would cost 20 ms per call.
        with self._lock:
            if self._first is None:
                if self._anchor is None:
                    self._anchor = self._connect()
                    self._anchor.execute("SELECT COUNT(*) FROM meta").fetchone()
            elif self._anchor is None or not self.exists():
                self._close_anchor()
                self._anchor = self._make(self._first)

    def _make(self, first: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        import filelock  # noqa: PLC0415 - supervisors load this module and never make a cloud

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            # two processes that switch one new file to WAL at once can both be refused
            with filelock.FileLock(self.folder / "cloud.lock", timeout=_BUSY_SECONDS):
                return self._prepare(first)
        except sqlite3.DatabaseError as error:
            raise StateError(
                f"the simulated cloud's file {self.path} cannot be used",
                details=str(error),
                resolution="gpuforge fake reset   starts a new one",
            ) from error

    def _prepare(self, first: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        connection = self._connect(create=True)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _TABLES.split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                first(connection)
                connection.execute(f"PRAGMA user_version={_VERSION}")
            connection.execute("COMMIT")
            self._refuse_newer(version)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_newer(self, version: int) -> None:
        if version > _VERSION:
            raise StateError(
                f"the simulated cloud in {self.folder} is from a newer gpuforge",
                details=f"its version is {version}, this gpuforge knows {_VERSION}",
                resolution="upgrade gpuforge, or start a new one: gpuforge fake reset",
            )

    def _connect(self, *, create: bool = False) -> sqlite3.Connection:
        mode = "rwc" if create else "rw"
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view."""
        self._hold()
        connection = self._connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed whole on leaving, or not at all when an error leaves it."""
        self._hold()
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()  # rolls back what was not committed

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._close_anchor()

    def _close_anchor(self) -> None:
        if self._anchor is not None:
            self._anchor.close()
            self._anchor = None
