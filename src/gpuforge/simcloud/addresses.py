"""Loopback addresses of simulated machines: a network per cloud on Linux, one address and ports elsewhere.

On Linux all of 127.0.0.0/8 is local, so a cloud draws a ``127.x.y`` of its own and each machine has an
address in it. Listen ports stay below 32768: the kernel hands 32768–60999 out to clients, and a server
can lose its port to one (measured).
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from gpuforge.simcloud.refusals import Code, SimError

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Iterator

__all__ = ["allocate", "candidate_ports", "choose_network"]

_SHARED = "127.0.0.1"
_FIRST_OCTET = 127
_SSH_PORT = 2222
_PORTS_OWN = range(_SSH_PORT, 9000)
_PORTS_SHARED = range(22220, 32000)
_HOSTS = range(2, 255)
_TRIES = 20


def choose_network(draw: random.Random, platform: str) -> str:
    """``127.x.y`` for a new cloud, or ``""`` where machines share 127.0.0.1.

    Args:
        draw: Where chance comes from.
        platform: As in ``sys.platform``.
    """
    if platform != "linux":
        return ""
    for _ in range(_TRIES):
        network = f"{_FIRST_OCTET}.{draw.randint(16, 250)}.{draw.randint(0, 255)}"
        problem = _bind_problem(f"{network}.2", _SSH_PORT)
        if problem == errno.EADDRNOTAVAIL:
            return ""
        if problem is None:
            return network
    return network  # every one is taken, so a listener on 0.0.0.0 has the port: other ports will do


def _bind_problem(host: str, port: int) -> int | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno
    return None


def allocate(db: sqlite3.Connection, count: int) -> list[tuple[str, int]]:
    """Addresses for ``count`` machines that no living one has.

    Raises:
        SimError: There are none left.
    """
    network = db.execute("SELECT value FROM meta WHERE key='network'").fetchone()[0]
    used = {tuple(row) for row in db.execute("SELECT host, port FROM instances WHERE status!='DELETED'")}
    found: list[tuple[str, int]] = []
    for address in _places(network):
        if len(found) == count:
            break
        if address not in used:
            found.append(address)
    if len(found) < count:
        raise SimError(Code.INTERNAL, "the simulated network has no free address")
    return found


def _places(network: str) -> Iterator[tuple[str, int]]:
    if network:
        return ((f"{network}.{host}", port) for port in _PORTS_OWN for host in _HOSTS)
    return ((_SHARED, port) for port in _PORTS_SHARED)


def candidate_ports(port: int) -> tuple[int, ...]:
    """The port given, then others to try where something else listens on it; all below 32768."""
    if port >= _PORTS_SHARED.start:
        return (port, port - 10_000)
    return (port, port + 10_000, port + 20_000)
