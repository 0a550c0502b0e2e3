"""Starting the machine's processes and learning how they end, orphans included."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Child", "Children"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process we started.

    Attributes:
        ended: Its exit code once it ended; negative for the signal that ended it.
    """

    pid: int
    ended: asyncio.Future[int]


class Children:
    """Every child of the supervisor: what it started, and what it adopted as the subreaper.

    One place waits for all of them: two waiters would steal each other's exit codes. Starting and reaping
    both happen on the event loop's thread, so no child can end before it is known.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._known: dict[int, tuple[subprocess.Popen[bytes], asyncio.Future[int]]] = {}
        self._loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def start(
        self,
        argv: Sequence[str],
        *,
        environ: Mapping[str, str],
        folder: Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        terminal: bool = False,
        executable: str | None = None,
    ) -> Child:
        """Start ``argv`` in a session of its own.

        With ``terminal``, stdin is a terminal and becomes the session's own.

        Raises:
            OSError: It cannot be started.
        """
        own: Callable[[], Any] | None = _take_terminal if terminal else None
        process = subprocess.Popen(
            list(argv),
            executable=executable,
            env=dict(environ),
            cwd=folder,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=own,  # noqa: PLW1509 - one system call, and the supervisor's other thread holds no lock for it
        )
        future: asyncio.Future[int] = self._loop.create_future()
        self._known[process.pid] = (process, future)
        return Child(pid=process.pid, ended=future)

    def reap(self) -> None:
        """Bury every child that ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            known = self._known.pop(pid, None)
            if known is None:
                continue
            process, future = known
            process.returncode = os.waitstatus_to_exitcode(status)
            if not future.done():
                future.set_result(process.returncode)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_signal_handler(signal.SIGCHLD)
        self.reap()
        for process, _ in self._known.values():
            with contextlib.suppress(OSError):
                process.poll()


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
