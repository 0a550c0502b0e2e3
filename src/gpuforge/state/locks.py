"""Locks that end with their process: one per cluster, held while it is made or torn down, never during a run.

They are advisory locks of the operating system on files that are never removed, so a crash cannot leave one
behind. They guard one computer; the epoch in the journal fences whatever still believes it holds one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from gpuforge.errors import StateError
from gpuforge.models.clock import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpuforge.models.clock import Clock
    from gpuforge.state.paths import Paths

__all__ = ["Holder", "cluster_lock", "exclusive", "holder", "is_locked", "try_cluster_lock"]

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock, in its own words; since it is only a note, it may be missing or old."""

    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}), since {self.since}"


def _files(paths: Paths, name: str) -> tuple[Path, Path]:
    # quoted, so that no name can point out of the folder
    stem = quote(name, safe="")
    return paths.locks / f"{stem}.lock", paths.locks / f"{stem}.holder"


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"the lock file {path} cannot be opened",
            details=str(error),
            resolution="make the folder writable, or point GPUFORGE_HOME at another one",
        ) from error


def _try(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def exclusive(path: Path, *, clock: Clock, wait_seconds: float) -> Iterator[bool]:
    """Hold ``path`` exclusively; yields False, without the lock, when ``wait_seconds`` went by.

    Raises:
        StateError: The file cannot be opened.
    """
    descriptor = _open(path)
    try:
        limit = clock.monotonic() + wait_seconds
        held = _try(descriptor, fcntl.LOCK_EX)
        while not held and clock.monotonic() < limit:
            clock.sleep(_POLL_SECONDS)
            held = _try(descriptor, fcntl.LOCK_EX)
        yield held
    finally:
        os.close(descriptor)  # and with it the lock


@contextlib.contextmanager
def try_cluster_lock(paths: Paths, name: str, *, clock: Clock, wait_seconds: float = 0) -> Iterator[bool]:
    """Hold the lock of the cluster ``name``, or yield False when another process keeps it."""
    lock_path, holder_path = _files(paths, name)
    with exclusive(lock_path, clock=clock, wait_seconds=wait_seconds) as held:
        if not held:
            yield False
            return
        _write_holder(holder_path, clock)
        try:
            yield True
        finally:
            holder_path.unlink(missing_ok=True)


@contextlib.contextmanager
def cluster_lock(paths: Paths, name: str, *, clock: Clock, wait_seconds: float = 10) -> Iterator[None]:
    """Hold the lock of the cluster ``name``.

    Raises:
        StateError: Another process held it for ``wait_seconds``; the error names it.
    """
    with try_cluster_lock(paths, name, clock=clock, wait_seconds=wait_seconds) as held:
        if not held:
            raise _busy(name, holder(paths, name), wait_seconds)
        yield


def _busy(name: str, who: Holder | None, wait_seconds: float) -> StateError:
    return StateError(
        f"another command is working on the cluster {name!r}",
        details=f"{who or 'a process that left no note'}; waited {wait_seconds:g} s",
        resolution="wait for it to end, or end it, and repeat the command",
    )


def _write_holder(path: Path, clock: Clock) -> None:
    note = {
        "pid": os.getpid(),
        "command": " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:2]]),  # noqa: PTH119 - the name alone
        "since": rfc3339(clock.now()),
    }
    # a torn note reads as no note
    path.write_text(json.dumps(note), encoding="utf-8")


def holder(paths: Paths, name: str) -> Holder | None:
    """The note of whoever holds the lock, or None when there is none that can be read."""
    try:
        note = json.loads(_files(paths, name)[1].read_bytes())
        return Holder(pid=int(note["pid"]), command=str(note["command"]), since=str(note["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_locked(paths: Paths, name: str) -> bool:
    """Whether a live process holds the lock of the cluster ``name``; does not wait."""
    lock_path, _ = _files(paths, name)
    if not lock_path.exists():
        return False
    descriptor = _open(lock_path)
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
