"""The journal: what was meant and what came of it; append-only, hash-chained, durable before a call leaves.

Everything else about clusters is derived from its rows (:mod:`gpuforge.state.views`). Its head (sequence
number and hash of the last row) is kept in a file beside the database, since a chain shows edits but not a
lost tail; a journal behind its head takes no new intents until ``gpuforge gc`` has asked the cloud.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from gpuforge.errors import StateError
from gpuforge.state.locks import exclusive
from gpuforge.state.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gpuforge.models.clock import Clock

__all__ = ["GENESIS", "Head", "Journal", "NewRow", "Position", "Row", "RowKind", "canonical", "row_hash"]

GENESIS = "0" * 64
"""The ``prev`` of the first row."""

_COLUMNS = "seq, at, epoch, cluster, node, attempt, kind, body, prev, hash"


class RowKind(StrEnum):
    """What a row says; a closed set, so a row from the future is refused."""

    INTENT = "INTENT"  # about to ask for a gang: names, token, body bytes
    ACK = "ACK"  # the cloud took it: operation, ids
    READY = "READY"  # every node answered over SSH
    FAILED = "FAILED"  # nothing lives of this attempt, the cloud said so
    DELETE_INTENT = "DELETE_INTENT"  # about to ask for the deletion
    GONE = "GONE"  # the cloud said so, for one node
    RESERVE = "RESERVE"  # money set aside until the deadline
    RELEASE = "RELEASE"  # the reservation is closed
    LEASE = "LEASE"  # a command took the cluster's lock; its number is the epoch of what follows


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """A row to append.

    Attributes:
        cluster: The cluster's uuid; empty for rows about no cluster.
        node: Instance name, or empty for the whole gang.
        epoch: The lease under which it is written; a newer lease of the cluster refuses it.
    """

    kind: RowKind
    cluster: str
    epoch: int
    node: str = ""
    attempt: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where the next row will stand: for rows whose body must say so."""

    seq: int
    prev: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it stands in the journal; ``at`` is RFC 3339 with microseconds."""

    seq: int
    at: str
    epoch: int
    cluster: str
    node: str
    attempt: int
    kind: RowKind
    body: Mapping[str, Any]
    prev: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last row, as remembered outside the database."""

    seq: int
    hash: str


def canonical(body: Mapping[str, Any]) -> str:
    r"""The one JSON text of a body: sorted keys, no spaces, ASCII.

    >>> canonical({"b": 1, "a": "é"})
    '{"a":"\\u00e9","b":1}'
    """
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def row_hash(prev: str, values: Sequence[int | str]) -> str:
    """SHA-256 over the previous hash and the canonical bytes of ``seq … body`` (the body as text)."""
    text = json.dumps(list(values), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{prev}\n{text}".encode("ascii")).hexdigest()


class Journal:
    """One process's view of the journal; usable from several threads, beside other processes."""

    def __init__(self, connection: sqlite3.Connection, *, path: Path, head_path: Path, clock: Clock) -> None:
        self._connection = connection
        self._path = path
        self._head_path = head_path
        self._clock = clock
        self._lock = threading.RLock()
        self._journal_id = ""

    @classmethod
    def open(cls, path: Path, *, head_path: Path, clock: Clock, busy_seconds: float = 10) -> Journal:
        """Open the journal, or begin one. Cheap: only its tail is checked against its head.

        Raises:
            StateError: It cannot be read or written, is damaged, or comes from a newer version.
        """
        opening = path.with_name(f"{path.name}.opening")
        with exclusive(opening, clock=clock, wait_seconds=busy_seconds) as alone:
            if not alone:
                raise StateError(
                    "another command keeps the journal from being opened",
                    details=f"waited {busy_seconds:g} s for {opening}",
                    resolution="end that command and repeat this one",
                )
            with _typed(path):
                connection = sqlite3.connect(
                    path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
                )
            journal = cls(connection, path=path, head_path=head_path, clock=clock)
            try:
                journal._begin()
            except BaseException:
                journal.close()
                raise
        return journal

    def _begin(self) -> None:
        with _typed(self._path):
            self._path.chmod(0o600)
            _make_durable(self._connection)
            migrate(self._connection, self._path)
        first = self._row("ORDER BY seq LIMIT 1")
        if first is None:
            body = {"journal": os.urandom(16).hex()}
            (first,) = self.append([NewRow(kind=RowKind.LEASE, cluster="", epoch=0, body=body)])
        journal_id = first.body.get("journal")
        if first.seq != 1 or not isinstance(journal_id, str) or not journal_id:
            raise self._damaged("its first row does not name the journal")
        self._journal_id = journal_id
        last = self._row("ORDER BY seq DESC LIMIT 1")
        if last is None or last.hash != row_hash(last.prev, _hashed(last)):
            raise self._damaged("its last row was changed after it was written")

    def close(self) -> None:
        """Close the database; the object is of no use afterwards."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def journal_id(self) -> str:
        """Random, made with the journal; enters every name, token and label."""
        return self._journal_id

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    @property
    def behind(self) -> str:
        """Why rows may be missing, or empty when the journal reaches its remembered head."""
        with self._lock:
            head = self.remembered_head()
            if head is None:
                fresh = self.tail().seq <= 1
                return "" if fresh else f"the file {self._head_path.name} is missing"
            at_head = self._row("WHERE seq = ?", head.seq)
            if at_head is None:
                return f"it ends at row {self.tail().seq}, but row {head.seq} had been written"
            if at_head.hash != head.hash:
                return f"its row {head.seq} is not the one that had been written"
            return ""

    def remembered_head(self) -> Head | None:
        """What the file beside the database says; None when there is no file.

        Raises:
            StateError: The file is there and cannot be read.
        """
        try:
            fields = json.loads(self._head_path.read_bytes())
            return Head(seq=int(fields["seq"]), hash=str(fields["hash"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"the file {self._head_path.name} cannot be read: {error}") from error

    def tail(self) -> Head:
        """The last row in the database."""
        with self._lock, _typed(self._path):
            found = self._connection.execute(
                "SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        return Head(seq=0, hash=GENESIS) if found is None else Head(seq=found[0], hash=found[1])

    def accept(self) -> None:
        """Take the journal's present end as its head: once the cloud was asked what lives."""
        self._remember()

    def append(self, rows: Sequence[NewRow | Callable[[Position], NewRow]]) -> tuple[Row, ...]:
        """Commit ``rows`` together, durably; a callable is asked for its row once its place is known.

        Raises:
            StateError: The commit failed (nothing may be sent), a newer command took the cluster over, or the
                rows are intents and the journal is behind its head.
        """
        with self._lock:
            reason = self.behind
            with self._transaction():
                written = [self._insert(row, may_intend=not reason) for row in rows]
            if not reason:
                self._remember()
        return tuple(written)

    def lease(self, cluster: str, body: Mapping[str, Any]) -> int:
        """Begin a new epoch of ``cluster``: whatever wrote under an older one is refused from now on."""

        def build(position: Position) -> NewRow:
            return NewRow(kind=RowKind.LEASE, cluster=cluster, epoch=position.seq, body=body)

        (row,) = self.append([build])
        return row.epoch

    def check_epoch(self, cluster: str, epoch: int) -> None:
        """Refuse to go on when a newer command took ``cluster`` over.

        Raises:
            StateError: It did.
        """
        with self._lock, _typed(self._path):
            found = self._connection.execute(
                "SELECT max(seq) FROM journal WHERE cluster = ? AND kind = 'LEASE'", (cluster,)
            ).fetchone()[0]
        if found not in (None, epoch):
            raise StateError(
                "another gpuforge command took this cluster over",
                details=f"it began epoch {found}, this command works under {epoch}",
                resolution="look at `gpuforge status`, then repeat the command",
            )

    def rows(self, cluster_uuid: str | None = None) -> tuple[Row, ...]:
        """Every row in order, or those of one cluster.

        Raises:
            StateError: A row cannot be read.
        """
        where, values = ("", ()) if cluster_uuid is None else ("WHERE cluster = ?", (cluster_uuid,))
        with self._lock:
            return tuple(self._select(f"{where} ORDER BY seq", *values))

    def raw_rows(self) -> Iterator[tuple[object, ...]]:
        """Every row as the database holds it, unchecked: for the verifier."""
        with self._lock, _typed(self._path):
            yield from self._connection.execute(
                f"SELECT {_COLUMNS} FROM journal ORDER BY seq"  # noqa: S608 - a constant
            )

    def cluster_uuids(self, *, include_closed: bool = False) -> tuple[str, ...]:
        """Clusters with an open reservation, or all there ever were; oldest first. Cheap."""
        having = "" if include_closed else "HAVING sum(kind = 'RESERVE') > sum(kind = 'RELEASE')"
        with self._lock, _typed(self._path):
            found = self._connection.execute(
                "SELECT cluster FROM journal WHERE kind IN ('RESERVE', 'RELEASE')"  # noqa: S608 - constants
                f" GROUP BY cluster {having} ORDER BY min(seq)"
            ).fetchall()
        return tuple(uuid for (uuid,) in found)

    def _insert(self, row: NewRow | Callable[[Position], NewRow], *, may_intend: bool) -> Row:
        tail = self.tail()
        position = Position(seq=tail.seq + 1, prev=tail.hash)
        new = row if isinstance(row, NewRow) else row(position)
        if new.kind in (RowKind.INTENT, RowKind.RESERVE) and not may_intend:
            raise StateError(
                "the journal has lost rows, so nothing new may be created",
                details=self.behind,
                resolution="gpuforge gc  asks the cloud what lives, reports it, and clears this",
            )
        if new.kind is not RowKind.LEASE:
            self.check_epoch(new.cluster, new.epoch)
        at = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        hashed = (
            position.seq, at, new.epoch, new.cluster, new.node, new.attempt, new.kind.value,
            canonical(new.body),
        )  # fmt: skip
        digest = row_hash(position.prev, hashed)
        self._connection.execute(
            f"INSERT INTO journal ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            (*hashed, position.prev, digest),
        )
        return self._parse((*hashed, position.prev, digest))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _typed(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _remember(self) -> None:
        # under the write lock, so that no other process can put an older head over a newer one
        with self._lock, self._transaction():
            tail = self.tail()
            text = json.dumps({"seq": tail.seq, "hash": tail.hash})
            try:
                _replace_durably(self._head_path, text.encode("ascii"))
            except OSError as error:
                raise StateError(
                    f"the journal's head {self._head_path} cannot be written",
                    details=str(error),
                    resolution="make room on the disk or the folder writable; nothing was sent to the cloud",
                ) from error

    def _row(self, clause: str, *values: int) -> Row | None:
        with self._lock:
            return next(iter(self._select(clause, *values)), None)

    def _select(self, clause: str, *values: int | str) -> Iterator[Row]:
        with _typed(self._path):
            found = self._connection.execute(f"SELECT {_COLUMNS} FROM journal {clause}", values).fetchall()  # noqa: S608 - constants
        return map(self._parse, found)

    def _parse(self, values: tuple[Any, ...]) -> Row:
        try:
            seq, at, epoch, cluster, node, attempt, kind, text, prev, digest = values
            body = dict(json.loads(text).items())
            return Row(
                seq=int(seq), at=str(at), epoch=int(epoch), cluster=str(cluster), node=str(node),
                attempt=int(attempt), kind=RowKind(kind), body=body, prev=str(prev), hash=str(digest),
            )  # fmt: skip
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged(f"row {values[0]} cannot be read: {error}") from error

    def _damaged(self, why: str) -> StateError:
        return StateError(
            f"the journal {self._path} is damaged",
            details=why,
            resolution="gpuforge audit verify  names the first bad row; nothing was changed",
        )


def _hashed(row: Row) -> tuple[int | str, ...]:
    return (
        row.seq, row.at, row.epoch, row.cluster, row.node, row.attempt, row.kind.value, canonical(row.body),
    )  # fmt: skip


def _make_durable(connection: sqlite3.Connection) -> None:
    """WAL with FULL, or DELETE with EXTRA where the file system refuses WAL; both are read back."""
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    wanted = _SYNCHRONOUS.get(mode)
    connection.execute(f"PRAGMA synchronous = {wanted}")
    connection.execute("PRAGMA fullfsync = 1")  # macOS: fsync alone does not reach the disk
    if wanted is None or connection.execute("PRAGMA synchronous").fetchone()[0] != wanted:
        raise StateError(
            "this file system cannot keep the journal durable",
            details=f"SQLite answered journal_mode={mode}",
            resolution="point GPUFORGE_HOME at a local disk",
        )


# journal mode → the number SQLite answers for synchronous (sqlite.org/pragma.html): FULL 2, EXTRA 3
_SYNCHRONOUS = {"wal": 2, "delete": 3}


def _replace_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _typed(path: Path) -> Iterator[None]:
    """SQLite's and the file system's errors, as ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StateError(
            f"the journal {path} cannot be used",
            details=str(error),
            resolution="free the disk or the file; nothing was sent to the cloud since its last row",
        ) from error
