"""The control socket's protocol, against masters that misbehave; good ones are met in the contract suite."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import tempfile
import threading
from pathlib import Path

import pytest

from gpuforge.transport import mux

_HELLO = struct.pack(">III", 8, 1, 4)


def _packet(*numbers, text=None):
    body = struct.pack(f">{len(numbers)}I", *numbers)
    if text is not None:
        body += struct.pack(">I", len(text)) + text
    return struct.pack(">I", len(body)) + body


@pytest.fixture
def master():
    """A function that makes a socket whose master sends ``data`` and then holds or closes."""
    folder = Path(tempfile.mkdtemp(prefix="gf-"))
    with contextlib.ExitStack() as stack:
        done = threading.Event()

        def make(data, *, hold=False):
            path = folder / "socket"
            path.unlink(missing_ok=True)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            listener.listen()

            def answer():
                with contextlib.suppress(OSError), listener.accept()[0] as client:
                    client.sendall(data)
                    if hold:
                        done.wait(20)
                    else:
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(4096):
                            pass

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            stack.callback(thread.join, 20)
            stack.callback(done.set)
            return path

        yield make
    shutil.rmtree(folder)


def _open(path, seconds=20.0):
    with open(os.devnull, "rb") as null:  # noqa: PTH123 - a descriptor is wanted
        return mux.open_session(path, b"true", [null.fileno()] * 3, timeout_seconds=seconds)


def test_no_socket_and_a_stale_one_are_no_master(tmp_path):
    """Nobody is asked."""
    short = Path(tempfile.mkdtemp(prefix="gf-"))
    try:
        path = short / "socket"
        for _ in range(2):
            assert not mux.is_listening(path)
            assert mux.master_pid(path) is None
            assert not mux.terminate_master(path)
            with pytest.raises(mux.MasterGoneError):
                _open(path)
            with socket.socket(socket.AF_UNIX) as stale:
                if not path.exists():
                    stale.bind(str(path))
    finally:
        shutil.rmtree(short)


def test_a_session_ends_with_its_exit_code(master):
    """And says it again when asked again; other news in between is passed over."""
    opened = _HELLO + _packet(0x80000006, 0, 7)
    session = _open(master(opened + _packet(0x80000008, 7) + _packet(0x80000004, 7, 255)))
    assert session.wait(20) == 255
    assert session.wait(None) == 255
    session.close()
    session.close()


def test_a_master_that_goes_leaves_no_exit_code(master):
    """Which is not the exit code 255."""
    session = _open(master(_HELLO + _packet(0x80000006, 0, 7)))
    assert session.wait(20) is None
    session.close()


def test_waiting_ends_with_its_time(master):
    """The session goes on."""
    session = _open(master(_HELLO + _packet(0x80000006, 0, 7), hold=True))
    with pytest.raises(TimeoutError):
        session.wait(0.05)
    session.close()
    assert session.wait(None) is None


@pytest.mark.parametrize("kind", [0x80000002, 0x80000003])
def test_a_refusal_keeps_its_reason(master, kind):
    """Denied and failed alike: nothing was run."""
    path = master(_HELLO + _packet(kind, 0, text=b"no more sessions"))
    with pytest.raises(mux.SessionRefusedError, match="no more sessions"):
        _open(path)


@pytest.mark.parametrize(
    "data",
    [struct.pack(">III", 8, 1, 5), struct.pack(">II", 4, 2), _HELLO + _packet(0x80000001, 0)],
    ids=["version", "no hello", "wrong answer"],
)
def test_another_protocol_is_a_refusal(master, data):
    """A later OpenSSH may speak another one: then each command has a connection of its own."""
    with pytest.raises(mux.SessionRefusedError):
        _open(master(data + b"\0" * 4))


@pytest.mark.parametrize(
    "data", [b"", b"\0\0", _HELLO, _HELLO + b"\xff\xff\xff\xff", _HELLO + struct.pack(">I", 2)]
)
def test_an_early_end_is_a_master_that_is_gone(master, data):
    """Nothing was run, so it may be tried elsewhere."""
    with pytest.raises(mux.MasterGoneError):
        _open(master(data))


@pytest.mark.parametrize("data", [b"", _HELLO], ids=["no hello", "no answer"])
def test_no_answer_in_time_is_told_apart(master, data):
    """The master lives, so the command might still be run later."""
    with pytest.raises(mux.OpenTimeoutError):
        _open(master(data, hold=True), seconds=0.1)


def test_the_master_tells_its_process_and_agrees_to_end(master):
    """What ``ssh -O check`` and ``-O exit`` ask."""
    assert mux.master_pid(master(_HELLO + _packet(0x80000005, 0, 4321))) == 4321
    assert mux.master_pid(master(_HELLO + _packet(0x80000003, 0, text=b"no"))) is None
    assert mux.terminate_master(master(_HELLO + _packet(0x80000001, 0)))
    assert not mux.terminate_master(master(_HELLO + _packet(0x80000002, 0, text=b"no")))
