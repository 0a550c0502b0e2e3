"""One pipe to the receiver on a node: frames out in large writes, frames in, and its end made an error."""

from __future__ import annotations

import io
import json
import queue
import threading
from typing import TYPE_CHECKING, Any

from gpuforge.errors import ConnectError, PolicyError, SyncError
from gpuforge.node.remote.wire import CHUNK, GoneError, RefusedError, read_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from gpuforge.transport.base import RemoteProcess

__all__ = ["Channel", "Row"]

Row = tuple[str, str]
_AGAIN = "run the same command again: only what is missing is sent"
_LEAVE_SECONDS = 10.0
_WRITES_AHEAD = 3


class _Stdout(io.RawIOBase):
    """A remote process's stdout as a file, so that the buffering of the standard library serves."""

    def __init__(self, process: RemoteProcess) -> None:
        self._process = process

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._process.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Channel:
    """Frames to and from one receiver.

    With ``background`` (a push) one thread writes while the caller prepares what comes next, and another
    reads the receiver's frames: rows gather in :attr:`rows`, a full disk sets :attr:`aborted`. Without (a
    pull) the caller does both.

    Args:
        process: The receiver.
        background: Write and read on threads.
        sent: Called with the bytes written, after each write.
    """

    def __init__(
        self, process: RemoteProcess, *, background: bool, sent: Callable[[int], None] | None = None
    ) -> None:
        self._process = process
        self._source = io.BufferedReader(_Stdout(process), CHUNK)
        self._out: list[bytes] = []
        self._waiting = 0
        self.sent = sent
        self.rows: list[Row] = []
        self.aborted: Row | None = None
        self._frames: queue.SimpleQueue[tuple[bytes, bytes]] = queue.SimpleQueue()
        self._outbox: queue.Queue[bytes] = queue.Queue(_WRITES_AHEAD)
        self._broken: ConnectError | None = None
        self._thread: threading.Thread | None = None
        self._writer: threading.Thread | None = None
        if background:
            self._thread = threading.Thread(target=self._gather, name="gpuforge-sync-in", daemon=True)
            self._thread.start()
            self._writer = threading.Thread(target=self._write_out, name="gpuforge-sync-out", daemon=True)
            self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._outbox.put(b"")
            self._writer.join(_LEAVE_SECONDS)
        # the receiver leaves when its input ends, and only then does the thread
        self._process.close_stdin()
        if self._thread is not None:
            self._thread.join(_LEAVE_SECONDS)

    def send(self, data: bytes) -> None:
        """Queue a frame; small ones are coalesced into writes of at least 1 MiB."""
        self._out.append(data)
        self._waiting += len(data)
        if self._waiting >= CHUNK:
            self._pass_on()

    def flush(self) -> None:
        """Write what is queued, and wait until it is written.

        Raises:
            ConnectError: The connection is gone.
        """
        self._pass_on()
        self._outbox.join()
        self._check()

    def _pass_on(self) -> None:
        if not self._out:
            return
        data = b"".join(self._out)
        self._out, self._waiting = [], 0
        if self._writer is None:
            self._write(data)
        else:
            self._outbox.put(data)
        self._check()

    def _write(self, data: bytes) -> None:
        if self._broken is None:
            try:
                self._process.write(data)
            except ConnectError as error:
                self._broken = error
                return
            if self.sent is not None:
                self.sent(len(data))

    def _write_out(self) -> None:
        while data := self._outbox.get():
            self._write(data)
            self._outbox.task_done()
        self._outbox.task_done()

    def _check(self) -> None:
        if self._broken is not None:
            raise self._ended() from self._broken

    def receive(self, *wanted: bytes) -> tuple[bytes, bytes]:
        """The next frame, one of ``wanted``; rows on the way are gathered.

        Raises:
            PolicyError: The root lies where copies may not go.
            SyncError: The receiver refused or failed.
            ConnectError: It is gone.
        """
        self.flush()
        while True:
            kind, payload = self._next() if self._thread is None else self._frames.get()
            if kind == b"R":
                self.rows.append(_row(payload))
            elif kind == b"!":
                raise _refused(json.loads(payload)["reason"])
            elif kind in wanted and kind:
                return kind, payload
            else:
                raise self._ended()

    def receive_json(self, wanted: bytes) -> Any:
        """The next frame's JSON."""
        return json.loads(self.receive(wanted)[1])

    def _next(self) -> tuple[bytes, bytes]:
        try:
            return read_frame(self._source)
        except (GoneError, RefusedError, ConnectError, OSError, ValueError):
            return b"", b""

    def _gather(self) -> None:
        while True:
            kind, payload = self._next()
            if kind == b"R":
                self.rows.append(_row(payload))
                continue
            if kind == b"A":
                self.aborted = _row(payload)
            self._frames.put((kind, payload))
            if not kind:
                return

    def _ended(self) -> Exception:
        """Why the receiver is gone; its own refusal where it sent one."""
        if self._thread is not None:
            self._thread.join(_LEAVE_SECONDS)
            while not self._frames.empty():
                kind, payload = self._frames.get()
                if kind == b"!":
                    return _refused(json.loads(payload)["reason"])
        said = self._process.stderr_tail().decode(errors="replace").strip()
        return ConnectError(
            "the connection to the node was lost during the copy", details=said, resolution=_AGAIN
        )


def _row(payload: bytes) -> Row:
    path, reason = json.loads(payload)
    return path, reason


def _refused(reason: str) -> Exception:
    if "isolation level 0" in reason:
        return PolicyError(
            "the copy was refused by the machine",
            details=reason,
            resolution="give a path below the home, such as ~/data instead of /data",
        )
    return SyncError("the copy was refused by the machine", details=reason)
