"""A client of OpenSSH's control socket: sessions on a kept master connection, without a process for each.

Speaks version 4 of the protocol that ``PROTOCOL.mux`` of OpenSSH describes (5.6 and later). Against starting
an ``ssh`` per command this saves its start, and it knows exactly whether a session was opened before things
broke, which the exit code 255 does not say.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "MasterGoneError",
    "MuxSession",
    "OpenTimeoutError",
    "SessionRefusedError",
    "is_listening",
    "master_pid",
    "open_forward",
    "open_session",
    "terminate_master",
]

_HELLO = 0x00000001
_NEW_SESSION = 0x10000002
_ALIVE_CHECK = 0x10000004
_TERMINATE = 0x10000005
_NEW_STDIO_FORWARD = 0x10000008
_OK = 0x80000001
_DENIED = 0x80000002
_FAILURE = 0x80000003
_EXIT = 0x80000004
_ALIVE = 0x80000005
_OPENED = 0x80000006
_VERSION = 4
_NO_ESCAPE = 0xFFFFFFFF
_ASK_SECONDS = 5.0
_LONGEST_PACKET = 256 * 1024


class MasterGoneError(Exception):
    """No master answers, or it went before the session was opened: nothing was run."""


class SessionRefusedError(Exception):
    """The master or the node refuses one more session: nothing was run."""


class OpenTimeoutError(Exception):
    """The session was not opened in time: nothing was run yet, but it may be while the master lives."""


class MuxSession:
    """An opened session: the master moves its bytes, this end learns its exit code."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._exit: int | None = None

    def wait(self, timeout_seconds: float | None) -> int | None:
        """The exit code; ``None`` when the connection went without one.

        Raises:
            TimeoutError: The time was up first.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        with self._lock:
            while self._exit is None:
                try:
                    kind, body = _receive(self._connection, deadline)
                except MasterGoneError:
                    return None
                if kind == _EXIT:
                    self._exit = struct.unpack(">I", body[4:8])[0]
            return self._exit

    def close(self) -> None:
        """Give the session up; the master closes its channel."""
        # shutdown first: it wakes a wait() in another thread, close() alone does not
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def open_session(
    path: Path, command: bytes, descriptors: Sequence[int], *, timeout_seconds: float
) -> MuxSession:
    """Start ``command`` on the master's node.

    Args:
        path: The control socket.
        command: As the node's shell will read it.
        descriptors: Stdin, stdout and stderr of the command; the master gets copies.
        timeout_seconds: For opening the session.

    Raises:
        MasterGoneError: No master, or it went first.
        SessionRefusedError: Not one session more on this connection.
        OpenTimeoutError: The node did not answer in time.
    """
    flags = struct.pack(">IIIII", 0, 0, 0, 0, _NO_ESCAPE)  # no terminal, X11, agent, subsystem
    body = _text(b"") + flags + _text(b"") + _text(command)
    return MuxSession(_open(path, _NEW_SESSION, body, descriptors, timeout_seconds))


def open_forward(
    path: Path, host: str, port: int, descriptors: Sequence[int], *, timeout_seconds: float
) -> MuxSession:
    """Join two descriptors (in, out) to ``host:port`` as the node sees it; raises as :func:`open_session`."""
    body = _text(b"") + _text(host.encode()) + struct.pack(">I", port)
    return MuxSession(_open(path, _NEW_STDIO_FORWARD, body, descriptors, timeout_seconds))


def _open(
    path: Path, kind: int, body: bytes, descriptors: Sequence[int], timeout_seconds: float
) -> socket.socket:
    deadline = time.monotonic() + timeout_seconds
    try:
        connection = _connect(path, deadline)
        try:
            _send(connection, kind, body, deadline)
            for descriptor in descriptors:
                _send_descriptor(connection, descriptor)
            _expect_opened(*_receive(connection, deadline))
        except BaseException:
            connection.close()
            raise
    except TimeoutError as error:
        raise OpenTimeoutError(f"the session was not opened in {timeout_seconds:.0f} s") from error
    return connection


def is_listening(path: Path) -> bool:
    """Whether a master holds the socket; says nothing about the network behind it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ASK_SECONDS)
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def master_pid(path: Path) -> int | None:
    """The master's process id; ``None`` when none answers."""
    deadline = time.monotonic() + _ASK_SECONDS
    try:
        with contextlib.closing(_connect(path, deadline)) as connection:
            _send(connection, _ALIVE_CHECK, b"", deadline)
            kind, body = _receive(connection, deadline)
    except (MasterGoneError, SessionRefusedError, TimeoutError):
        return None
    return struct.unpack(">I", body[4:8])[0] if kind == _ALIVE else None


def terminate_master(path: Path) -> bool:
    """Ask the master to end, as ``ssh -O exit`` does; False when it did not agree or none answers."""
    deadline = time.monotonic() + _ASK_SECONDS
    try:
        with contextlib.closing(_connect(path, deadline)) as connection:
            _send(connection, _TERMINATE, b"", deadline)
            kind, _ = _receive(connection, deadline)
    except (MasterGoneError, SessionRefusedError, TimeoutError):
        return False
    return kind == _OK


def _connect(path: Path, deadline: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_left(deadline))
        connection.connect(str(path))
        connection.sendall(struct.pack(">III", 8, _HELLO, _VERSION))
        kind, body = _receive(connection, deadline)
    except TimeoutError:
        connection.close()
        raise
    except OSError as error:
        connection.close()
        raise MasterGoneError(str(error)) from error
    except BaseException:
        connection.close()
        raise
    if kind != _HELLO or struct.unpack(">I", body[:4])[0] != _VERSION:
        connection.close()
        raise SessionRefusedError("the master speaks another version")
    return connection


def _send(connection: socket.socket, kind: int, body: bytes, deadline: float) -> None:
    packet = struct.pack(">II", kind, 0) + body
    connection.settimeout(_left(deadline))
    try:
        connection.sendall(struct.pack(">I", len(packet)) + packet)
    except TimeoutError:
        raise
    except OSError as error:
        raise MasterGoneError(str(error)) from error


def _send_descriptor(connection: socket.socket, descriptor: int) -> None:
    # one message and one byte per descriptor, as the master reads them
    try:
        socket.send_fds(connection, [b"\0"], [descriptor])
    except TimeoutError:
        raise
    except OSError as error:
        raise MasterGoneError(str(error)) from error


def _receive(connection: socket.socket, deadline: float | None) -> tuple[int, bytes]:
    """One packet: its kind and what follows it."""
    size = struct.unpack(">I", _exactly(connection, 4, deadline))[0]
    if not 4 <= size <= _LONGEST_PACKET:
        raise MasterGoneError(f"a packet of {size} bytes")
    packet = _exactly(connection, size, deadline)
    return struct.unpack(">I", packet[:4])[0], packet[4:]


def _exactly(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    data = b""
    while len(data) < size:
        try:
            connection.settimeout(None if deadline is None else _left(deadline))
            chunk = connection.recv(size - len(data))
        except TimeoutError:
            raise
        except OSError as error:
            raise MasterGoneError(str(error)) from error
        if not chunk:
            raise MasterGoneError("the master closed the control socket")
        data += chunk
    return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _expect_opened(kind: int, body: bytes) -> None:
    if kind == _OPENED:
        return
    if kind in (_DENIED, _FAILURE):
        raise SessionRefusedError(body[8:].decode(errors="replace"))
    raise SessionRefusedError(f"unexpected answer {kind:#x}")
