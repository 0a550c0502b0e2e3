"""Connections that an SSH client opens from the machine: to its ports, and to its Unix sockets.

Of our own, because asyncssh's forwarder (2.24) loses an end of file that arrives at the wrong moment: about
half of the connections whose two sides finish at nearly the same time stayed open for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any, Protocol

import asyncssh
from asyncssh.stream import SSHTCPStreamSession, SSHUNIXStreamSession

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["open_tcp", "open_unix", "relay"]

_CHUNK = 128 * 1024
_GONE = (OSError, asyncssh.Error)


class _Reader(Protocol):
    async def read(self, n: int) -> bytes: ...


class _Writer(Protocol):
    def write(self, data: bytes) -> Any: ...

    def write_eof(self) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


async def open_tcp(hosts: Iterable[str], port: int) -> SSHTCPStreamSession[bytes]:
    """Connect to the first host that answers on the port.

    Raises:
        asyncssh.ChannelOpenError: None does.
    """
    refused = ""
    for host in hosts:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            refused = str(error)
        else:
            return SSHTCPStreamSession(functools.partial(relay, reader, writer))
    raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, refused)


async def open_unix(path: Path) -> SSHUNIXStreamSession[bytes]:
    """Connect to a socket in the file system.

    Raises:
        asyncssh.ChannelOpenError: Nobody listens there.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
    except OSError as error:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from error
    return SSHUNIXStreamSession(functools.partial(relay, reader, writer))


async def relay(reader: _Reader, writer: _Writer, theirs: _Reader, back: _Writer) -> None:
    """Carry bytes both ways; each side's end is passed on, and both close when both have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_carry(reader, back))
            group.create_task(_carry(theirs, writer))
    except* _GONE:
        pass  # one side broke off: so does the other
    finally:
        for one in (writer, back):
            with contextlib.suppress(*_GONE):
                one.close()


async def _carry(source: _Reader, target: _Writer) -> None:
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
    target.write_eof()
