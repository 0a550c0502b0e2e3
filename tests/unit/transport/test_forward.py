"""Local ports over channels of any kind."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading

import pytest

from gpuforge.errors import ConnectError
from gpuforge.transport.forward import serve_forward


class _Echo:
    """A channel that answers what it gets."""

    def __init__(self):
        self.pieces = queue.Queue()
        self.closed = threading.Event()

    def write(self, data):
        self.pieces.put(data)

    def close_stdin(self):
        self.pieces.put(b"")

    def read(self, size):
        return self.pieces.get(timeout=20)

    def close(self):
        self.pieces.put(b"")
        self.closed.set()


def test_each_connection_has_a_channel_that_ends_with_it():
    """Half-closing passes through."""
    made = []

    def open_channel():
        made.append(_Echo())
        return made[-1]

    with serve_forward(open_channel) as address:
        assert address[0] == "127.0.0.1"
        for text in (b"one", b"two"):
            with socket.create_connection(address, timeout=20) as client:
                client.sendall(text)
                client.shutdown(socket.SHUT_WR)
                assert b"".join(iter(lambda: client.recv(100), b"")) == text
    assert len(made) == 2
    assert all(channel.closed.is_set() for channel in made)


def test_leaving_ends_live_connections_and_the_listener():
    """Nothing listens afterwards and no thread is left."""
    channel = _Echo()
    before = set(threading.enumerate())
    with serve_forward(lambda: channel) as address:
        client = socket.create_connection(address, timeout=20)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    with client:
        assert client.recv(1) == b""
    assert channel.closed.is_set()
    assert set(threading.enumerate()) <= before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, timeout=5)


def test_a_channel_that_cannot_be_opened_closes_the_connection():
    """And the next one may work."""

    def refuse():
        raise ConnectError("no")

    with serve_forward(refuse) as address:
        for _ in range(2):
            with (
                socket.create_connection(address, timeout=20) as client,
                contextlib.suppress(ConnectionError),
            ):
                assert client.recv(1) == b""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, timeout=5)
