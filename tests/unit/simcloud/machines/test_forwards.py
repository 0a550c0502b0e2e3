"""A relayed connection carries bytes both ways, passes each end on, and always closes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from gpuforge.simcloud.machines import forwards


class _Side:
    """A reader and a writer in memory."""

    def __init__(self, *chunks, error=None):
        self._chunks = list(chunks)
        self._error = error
        self.got = []

    async def read(self, _size):
        await asyncio.sleep(0)
        if self._chunks:
            return self._chunks.pop(0)
        if self._error:
            raise self._error
        return b""

    def write(self, data):
        self.got.append(data)

    def write_eof(self):
        self.got.append("eof")

    async def drain(self):
        await asyncio.sleep(0)

    def close(self):
        self.got.append("closed")


def test_bytes_and_ends_cross_both_ways():
    ours, theirs = _Side(b"a", b"b"), _Side(b"c")
    asyncio.run(forwards.relay(ours, ours, theirs, theirs))
    assert theirs.got == [b"a", b"b", "eof", "closed"]
    assert ours.got == [b"c", "eof", "closed"]


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), asyncssh.ConnectionLost("gone")])
def test_a_side_that_breaks_off_closes_both(error):
    ours, theirs = _Side(error=error), _Side(*[b"x"] * 5)
    asyncio.run(forwards.relay(ours, ours, theirs, theirs))
    assert ours.got[-1] == theirs.got[-1] == "closed"


def test_the_first_host_that_answers_is_taken():
    async def run():
        async def hello(_reader, writer):
            writer.write(b"hello")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(hello, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            session = await forwards.open_tcp(["127.0.99.99", "127.0.0.1"], port)
            client = _Side()
            await session._session_factory(client, client)  # as asyncssh does once the channel is open
            return client.got

    assert asyncio.run(run()) == [b"hello", "eof", "closed"]


@pytest.mark.parametrize(
    "opening",
    [lambda: forwards.open_tcp(["127.0.99.99"], 1), lambda: forwards.open_unix(Path("/nowhere/socket"))],
)
def test_nobody_there_refuses_the_channel(opening):
    with pytest.raises(asyncssh.ChannelOpenError):
        asyncio.run(opening())
