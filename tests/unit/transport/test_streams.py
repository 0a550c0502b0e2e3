"""A process's three streams, against far ends that do as they please."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import pytest

from gpuforge.errors import ConnectError
from gpuforge.transport.streams import StreamProcess, Streams, split_lines


class _Ender:
    """Says what it was told to."""

    def __init__(self, code=0):
        self.code = code
        self.closed = 0

    def wait(self, timeout_seconds):
        if self.code == "never":
            raise TimeoutError
        return self.code

    def close(self):
        self.closed += 1

    def failure(self):
        return ConnectError("gone")


@pytest.fixture
def streams():
    """Closed afterwards, all six ends."""
    made = Streams()
    yield made
    made.close()


def test_lines_are_put_together_over_reads():
    """Whatever the pieces are."""
    pieces = [b"a", b"b\nc\n\n", b"", b"never read"]

    class Source:
        def read(self, size):
            return pieces.pop(0)

    assert list(split_lines(Source())) == [b"ab\n", b"c\n", b"\n"]


def test_closing_wakes_a_reader_and_a_writer(streams):
    """Threads that wait on a dead connection end."""
    process = StreamProcess(streams, _Ender())
    process.start_draining()
    got = []

    def write():
        with contextlib.suppress(ConnectError):
            while True:
                process.write(b"x" * 100_000)
        got.append("writer")

    def read():
        try:
            got.append(process.read(10))
        except ConnectError:
            got.append(b"")

    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    process.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(got, key=str) == [b"", "writer"]


def test_closing_twice_gives_up_once(streams):
    """The ender is told once; what comes later is an error or nothing."""
    ender = _Ender()
    process = StreamProcess(streams, ender)
    process.close()
    process.close()
    process.close_stdin()
    assert ender.closed == 1
    with pytest.raises(ConnectError):
        process.read(1)
    with pytest.raises(ConnectError):
        process.write(b"x")


def test_no_exit_code_is_the_enders_failure(streams):
    """And no end in time is a connect error that says so."""
    with pytest.raises(ConnectError, match="gone"):
        StreamProcess(streams, _Ender(None)).wait()
    with pytest.raises(ConnectError, match="did not end in 3 s"):
        StreamProcess(streams, _Ender("never")).wait(3)


def test_output_that_never_ends_is_given_up_in_time(streams):
    """The deadline holds while the far side is silent."""
    process = StreamProcess(streams, _Ender())
    with pytest.raises(ConnectError, match="in time"):
        process.communicate(b"", time.monotonic() + 0.05)


def test_a_far_end_that_does_not_read_is_no_error(streams):
    """Its exit code tells what that means."""
    process = StreamProcess(streams, _Ender(9))
    _, stdout, stderr = streams.far
    os.write(stdout, b"out")
    os.write(stderr, b"err")
    streams.close_far()
    assert process.communicate(b"x" * 1_000_000, time.monotonic() + 20) == (9, b"out", b"err")
