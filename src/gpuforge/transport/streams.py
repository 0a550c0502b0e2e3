"""A running command whose three streams are local sockets: what the OpenSSH engine hands out.

Sockets rather than pipes, because shutting one down wakes a thread that waits on it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Protocol

from gpuforge.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuforge.errors import TransportError

__all__ = ["TAIL_BYTES", "Ender", "StreamProcess", "Streams", "split_lines"]

TAIL_BYTES = 16 * 1024
_CHUNK = 256 * 1024


class Ender(Protocol):
    """Knows how the command behind the streams ended."""

    def wait(self, timeout_seconds: float | None) -> int | None:
        """The exit code; ``None`` when the connection went without one; ``TimeoutError`` when time is up."""
        ...

    def close(self) -> None:
        """Give the channel up."""
        ...

    def failure(self) -> TransportError:
        """The error for a connection that went."""
        ...


class Streams:
    """Both ends of a command's three streams, until the far ends are given away."""

    def __init__(self) -> None:
        pairs = [socket.socketpair() for _ in range(3)]
        self.stdin, self.stdout, self.stderr = (near for near, _ in pairs)
        self._far = [far for _, far in pairs]
        # each stream has one direction: the far stdin must see an end, the near outputs never write
        self.stdin.shutdown(socket.SHUT_RD)
        self.stdout.shutdown(socket.SHUT_WR)
        self.stderr.shutdown(socket.SHUT_WR)

    @property
    def far(self) -> tuple[int, int, int]:
        """Descriptors for the command: stdin, stdout, stderr."""
        first, second, third = (end.fileno() for end in self._far)
        return first, second, third

    def close_far(self) -> None:
        """After giving them away: an output ends when the command's side of it is the last one closed."""
        for end in self._far:
            end.close()

    def close(self) -> None:
        """All six ends."""
        self.close_far()
        for near in (self.stdin, self.stdout, self.stderr):
            near.close()


class StreamProcess:
    """Implements :class:`gpuforge.transport.base.RemoteProcess`.

    Args:
        streams: Ours; the far ends are given away already.
        ender: Knows the exit code.
    """

    def __init__(self, streams: Streams, ender: Ender) -> None:
        self._streams = streams
        self._ender = ender
        self._tail = b""
        self._drainer: threading.Thread | None = None
        self._closed = False

    def start_draining(self) -> None:
        """Keep the tail of stderr from now on, so that a chatty command never blocks on it."""
        self._drainer = threading.Thread(target=self._drain, name="gpuforge-stderr", daemon=True)
        self._drainer.start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self._streams.stderr.recv(_CHUNK):
                self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def write(self, data: bytes) -> None:
        """Send to its stdin; see the port."""
        try:
            self._streams.stdin.sendall(data)
        except OSError as error:
            raise ConnectError("the command no longer reads its stdin", details=str(error)) from error

    def close_stdin(self) -> None:
        """End of its stdin."""
        with contextlib.suppress(OSError):
            self._streams.stdin.shutdown(socket.SHUT_WR)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes of stdout; see the port."""
        try:
            return self._streams.stdout.recv(size)
        except OSError as error:
            raise ConnectError("the command's stdout is closed", details=str(error)) from error

    def lines(self) -> Iterator[bytes]:
        """Stdout by lines."""
        return split_lines(self)

    def stderr_tail(self) -> bytes:
        """The last 16 KiB of stderr so far."""
        return self._tail

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Its exit code; see the port."""
        try:
            code = self._ender.wait(timeout_seconds)
        except TimeoutError as error:
            raise ConnectError(f"the command did not end in {timeout_seconds or 0:g} s") from error
        if code is None:
            raise self._ender.failure()
        if self._drainer is not None:
            # a moment for its last words; a detached child may hold stderr open for ever
            self._drainer.join(1)
        return code

    def communicate(self, stdin: bytes, deadline: float | None) -> tuple[int, bytes, bytes]:
        """Send ``stdin``, read both outputs to their ends, and learn the exit code.

        Raises:
            ConnectError: Time is up (``deadline`` of the monotonic clock), or the connection went.
        """
        streams = self._streams
        outputs: dict[socket.socket, list[bytes]] = {streams.stdout: [], streams.stderr: []}
        with selectors.DefaultSelector() as selector:
            for output in outputs:
                selector.register(output, selectors.EVENT_READ)
            if stdin:
                streams.stdin.setblocking(False)
                selector.register(streams.stdin, selectors.EVENT_WRITE)
            else:
                self.close_stdin()
            rest = memoryview(stdin)
            ended = 0
            while ended < len(outputs):
                for end in _ready(selector, deadline):
                    if end is streams.stdin:
                        rest = self._feed(rest)
                        if not rest:
                            selector.unregister(end)
                    elif chunk := end.recv(_CHUNK):
                        outputs[end].append(chunk)
                    else:
                        selector.unregister(end)
                        ended += 1
        code = self.wait(None if deadline is None else max(0.01, deadline - time.monotonic()))
        return code, b"".join(outputs[streams.stdout]), b"".join(outputs[streams.stderr])

    def _feed(self, rest: memoryview) -> memoryview:
        try:
            rest = rest[self._streams.stdin.send(rest[:_CHUNK]) :]
        except BlockingIOError:
            return rest
        except OSError:
            rest = rest[:0]  # the command does not want more; its exit code says what that means
        if not rest:
            self.close_stdin()
        return rest

    def close(self) -> None:
        """Give the channel up; see the port."""
        if self._closed:
            return
        self._closed = True
        self._ender.close()
        streams = self._streams
        for end in (streams.stdin, streams.stdout, streams.stderr):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if self._drainer is not None:
            self._drainer.join()
        streams.close()


def _ready(selector: selectors.BaseSelector, deadline: float | None) -> list[socket.socket]:
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise ConnectError("the command did not end in time")
    return [key.fileobj for key, _ in selector.select(left) if isinstance(key.fileobj, socket.socket)]


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def split_lines(source: _Readable) -> Iterator[bytes]:
    """Lines of ``source`` with their newline; the last one may lack it."""
    parts: list[bytes] = []
    while chunk := source.read(65536):
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*parts, line, b"\n"])
            parts = []
        if rest:
            parts.append(rest)
    if parts:
        yield b"".join(parts)
