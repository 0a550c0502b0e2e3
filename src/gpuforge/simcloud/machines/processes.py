"""Which processes belong to a machine, and ending them all: by ancestry and by a marker in the environment.

A daemonised child survives the supervisor that adopted it, so ancestry alone is not enough; a child that
cleared its environment carries no marker, so the marker alone is not enough either. Nothing that has neither
is ever touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "MARKER",
    "Process",
    "become_subreaper",
    "descendants",
    "kill_all",
    "marked",
    "process_table",
    "start_ticks",
    "table_from_ps",
]

MARKER = "GPUFORGE_MACHINE_ID"
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_PS = ("ps", "-A", "-E", "-ww", "-o", "pid=,ppid=,sess=,command=")  # macOS: -E shows the environment
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One row of the process table; zombies are left out.

    Attributes:
        session: Session id, the pid of the session's first process.
        environ: Its environment as it was started with; empty when it may not be read.
    """

    pid: int
    parent: int
    session: int
    name: str
    environ: bytes


def become_subreaper() -> bool:
    """Adopt every orphan below this process, so that none escapes to PID 1; False where that cannot be."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def _stat_fields(pid: int) -> tuple[str, list[str]] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # the name stands in brackets and may itself hold spaces and brackets
    head, _, tail = text.rpartition(")")
    return head.partition("(")[2], tail.split()


def start_ticks(pid: int) -> str | None:
    """When a process started, in the kernel's own ticks; with the pid it names one process for ever."""
    found = _stat_fields(pid)
    return None if found is None else found[1][19]


def _one(pid: int) -> Process | None:
    found = _stat_fields(pid)
    if found is None or found[1][0] == "Z":
        return None
    name, fields = found
    environ = b""
    with contextlib.suppress(OSError):
        environ = (_PROC / str(pid) / "environ").read_bytes()
    return Process(pid=pid, parent=int(fields[1]), session=int(fields[3]), name=name, environ=environ)


def table_from_ps(argv: Iterable[str] = _PS) -> list[Process]:
    """The process table from ``ps``, whose command column ends with the environment: without ``/proc``."""
    done = subprocess.run(list(argv), capture_output=True, check=False)
    rows = []
    for line in done.stdout.splitlines():
        parts = line.split(None, 3)
        if len(parts) == 4 and all(part.isdigit() for part in parts[:3]):
            pid, parent, session = (int(part) for part in parts[:3])
            words = parts[3].split(b" ")
            name = os.path.basename(words[0]).decode(errors="replace")  # noqa: PTH119 - bytes
            rows.append(
                Process(pid=pid, parent=parent, session=session, name=name, environ=b"\0".join(words))
            )
    return rows


def process_table() -> list[Process]:
    """Every live process."""
    if not (_PROC / "self" / "stat").exists():
        return table_from_ps()
    rows = (_one(int(entry.name)) for entry in os.scandir(_PROC) if entry.name.isdigit())
    return [row for row in rows if row is not None]


def descendants(table: Iterable[Process], roots: Iterable[int]) -> set[int]:
    """The pids below ``roots``, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for row in table:
        children.setdefault(row.parent, []).append(row.pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in found:
                found.add(pid)
                todo.append(pid)
    return found


def marked(table: Iterable[Process], marker: str) -> set[int]:
    """The pids that carry a machine's marker, and everything below them."""
    rows = list(table)
    entry = f"{MARKER}={marker}".encode()
    own = {row.pid for row in rows if entry in row.environ.split(b"\0")}
    return own | descendants(rows, own)


def kill_all(
    find: Callable[[], set[int]], *, patience_seconds: float = 5.0, on_pass: Callable[[], None] | None = None
) -> int:
    """SIGKILL what ``find`` names, again and again until it names nothing.

    A process may fork between the look and the kill, so one pass proves nothing. Everything is stopped
    before anything is killed, so that a fork bomb loses its race.

    Args:
        find: The pids that must end; asked afresh before each pass.
        patience_seconds: When to give up on what does not die (uninterruptible sleep).
        on_pass: Called after each pass, such as to reap.

    Returns:
        How many different processes were killed.
    """
    ended: set[int] = set()
    give_up = time.monotonic() + patience_seconds
    while time.monotonic() < give_up:
        alive = find() - {os.getpid()}
        if not alive:
            break
        for wanted in (signal.SIGSTOP, signal.SIGKILL):
            for pid in alive:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, wanted)
        ended |= alive
        if on_pass is not None:
            on_pass()
        time.sleep(_PAUSE_SECONDS)  # the kernel needs a moment to bury them
    return len(ended)
