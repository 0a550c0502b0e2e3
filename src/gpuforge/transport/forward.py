"""A local port whose connections go through a node, for any engine that can open a channel."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Protocol

from gpuforge.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Channel", "serve_forward"]

_CHUNK = 256 * 1024


class Channel(Protocol):
    """Two streams to the far side."""

    def write(self, data: bytes) -> None:
        """Send; ``ConnectError`` when the far side reads no more."""
        ...

    def close_stdin(self) -> None:
        """Nothing more will be sent."""
        ...

    def read(self, size: int) -> bytes:
        """Some bytes; empty at the end."""
        ...

    def close(self) -> None:
        """Both directions."""
        ...


@contextlib.contextmanager
def serve_forward(open_channel: Callable[[], Channel]) -> Iterator[tuple[str, int]]:
    """Listen on a free port of 127.0.0.1; each connection gets a channel of its own.

    A connection whose channel cannot be opened is closed at once, as a closed port would. Leaving the context
    ends the listener and every connection.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    forward = _Forward(listener, open_channel)
    thread = threading.Thread(target=forward.accept, name="gpuforge-forward", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[:2]
    finally:
        forward.close()
        thread.join()


class _Forward:
    def __init__(self, listener: socket.socket, open_channel: Callable[[], Channel]) -> None:
        self._listener = listener
        self._open_channel = open_channel
        self._lock = threading.Lock()
        self._live: dict[socket.socket, threading.Thread] = {}
        self._closing = False

    def accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(
                target=self._serve, args=(client,), name="gpuforge-forwarded", daemon=True
            )
            with self._lock:
                if self._closing:
                    client.close()
                    return
                self._live[client] = thread
            thread.start()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            live = dict(self._live)
        # shutdown wakes accept(), close alone does not
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in live:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in live.values():
            thread.join()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._join(client)
        finally:
            with self._lock:
                self._live.pop(client, None)

    def _join(self, client: socket.socket) -> None:
        try:
            channel = self._open_channel()
        except TransportError:
            return  # the client sees its connection close
        upward = threading.Thread(target=_send_up, args=(client, channel), daemon=True)
        upward.start()
        try:
            with contextlib.suppress(OSError, TransportError):
                while data := channel.read(_CHUNK):
                    client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                upward.join()
        finally:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            channel.close()
            upward.join()


def _send_up(client: socket.socket, channel: Channel) -> None:
    with contextlib.suppress(OSError, TransportError):
        while data := client.recv(_CHUNK):
            channel.write(data)
    channel.close_stdin()
