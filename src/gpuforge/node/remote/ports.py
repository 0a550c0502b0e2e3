"""Ports of this machine: free ones to name, and one to listen at."""

from __future__ import annotations

import errno
import os

from .files import AgentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Optional


def free_port(address: str = "") -> int:
    """A port nobody listens on, outside the range that clients are given (32768-60999)."""
    for _ in range(200):
        listener = _bind(address, _random_port(), reuse=False)
        if listener is not None:
            port = int(listener.getsockname()[1])
            listener.close()
            return port
    raise AgentError("start", "no free port between 20000 and 32767")


def listen(address: str) -> socket.socket:
    """A listener that does not block, at a port of its own."""
    for _ in range(200):
        listener = _bind(address, _random_port(), reuse=True)
        if listener is not None:
            listener.listen(64)
            listener.setblocking(False)
            return listener
    raise AgentError("start", f"no free port at {address} between 20000 and 32767")


def _random_port() -> int:
    return 20000 + int.from_bytes(os.urandom(4), "big") % 12768


def _bind(address: str, port: int, *, reuse: bool) -> Optional[socket.socket]:
    import socket

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if reuse:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return listener
