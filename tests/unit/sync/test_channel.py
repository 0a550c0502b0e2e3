"""The channel: large writes, rows on the way, and the receiver's end turned into the right error."""

from __future__ import annotations

import pytest

from gpuforge.errors import ConnectError, PolicyError, SyncError
from gpuforge.node.remote.wire import frame, message
from gpuforge.sync.channel import Channel


class Process:
    """A remote process that answers from memory."""

    def __init__(self, answer: bytes, *, deaf: bool = False) -> None:
        self.answer, self.deaf, self.written, self.closed = answer, deaf, [], False

    def write(self, data):
        if self.deaf:
            raise ConnectError("gone")
        self.written.append(data)

    def read(self, size):
        data, self.answer = self.answer[:size], self.answer[size:]
        return data

    def close_stdin(self):
        self.closed = True

    def stderr_tail(self):
        return b"Traceback: it broke\n"


@pytest.fixture(params=[True, False], ids=["background", "direct"])
def open_channel(request):
    def call(process):
        return Channel(process, background=request.param)

    return call


def test_small_frames_are_coalesced_into_large_writes(open_channel):
    process = Process(b"")
    with open_channel(process) as channel:
        for _ in range(100):
            channel.send(bytes(30_000))
        channel.flush()
        channel.flush()
    assert [len(data) for data in process.written] == [1_050_000, 1_050_000, 900_000]
    assert process.closed


def test_rows_on_the_way_are_gathered(open_channel):
    process = Process(message(b"R", ["a", "why"]) + message(b"D", {"tree": "x"}))
    with open_channel(process) as channel:
        assert channel.receive_json(b"D") == {"tree": "x"}
        assert channel.rows == [("a", "why")]


@pytest.mark.parametrize(
    ("reason", "kind"), [("isolation level 0 keeps", PolicyError), ("another copy is running", SyncError)]
)
def test_a_refusal_is_told_in_the_receiver_s_words(open_channel, reason, kind):
    process = Process(message(b"!", {"reason": reason}))
    with open_channel(process) as channel, pytest.raises(kind, match=reason):
        channel.receive(b"D")


@pytest.mark.parametrize("answer", [b"", b"D\0\0\0\5ab", frame(b"Q"), b"\xff\xff\xff\xff\xff"])
def test_an_end_or_nonsense_is_a_lost_connection_with_its_last_words(open_channel, answer):
    process = Process(answer)
    with open_channel(process) as channel, pytest.raises(ConnectError, match="it broke") as caught:
        channel.receive(b"D")
    assert "run the same command again" in caught.value.resolution


def test_a_refusal_explains_a_failed_write():
    process = Process(message(b"!", {"reason": "full stop"}), deaf=True)
    with Channel(process, background=True) as channel:
        channel.send(b"x")
        with pytest.raises(SyncError, match="full stop"):
            channel.flush()
    with Channel(Process(b"", deaf=True), background=True) as channel:
        channel.send(b"x")
        with pytest.raises(ConnectError, match="lost during the copy"):
            channel.flush()


def test_a_full_disk_is_known_at_once():
    with Channel(Process(message(b"A", ["file", "full"])), background=True) as channel:
        assert channel.receive(b"A")[0] == b"A"
        assert channel.aborted == ("file", "full")
