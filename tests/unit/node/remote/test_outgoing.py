"""What is sent is what was listed, or is looked at once more, or is a row."""

from __future__ import annotations

import io
import os
from hashlib import blake2b

import pytest

from gpuforge.node.remote.outgoing import Outgoing
from gpuforge.node.remote.wire import read_frame

LARGE = 300_000


@pytest.fixture
def send(tree):
    """Send these files, changed by ``meanwhile`` after they are listed: rows, frames, and the sender."""

    def call(*names: bytes, meanwhile=lambda: None):
        entries = list(tree.look(names).values())
        stream = io.BytesIO()
        meanwhile()
        sender = Outgoing(tree, entries, stream.write)
        rows = list(sender.send(range(len(entries))))
        stream.seek(0)
        frames = []
        while (found := read_frame(stream))[0]:
            frames.append(found)
        return rows, frames, sender

    return call


def test_small_files_travel_together_and_large_ones_in_pieces(send, home):
    (home / "a").write_bytes(b"one")
    (home / "b").write_bytes(b"two")
    (home / "large").write_bytes(bytes(LARGE))
    rows, frames, sender = send(b"a", b"b", b"large")
    assert rows == []
    assert [kind for kind, _ in frames] == [b"F", b"B", b"C", b"E"]
    assert frames[-1][1] == blake2b(bytes(LARGE), digest_size=16).digest()
    assert sender.done[0].extra == blake2b(b"one", digest_size=16).hexdigest().encode()


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_file_that_grew_is_looked_at_again(send, home, size):
    (home / "log").write_bytes(bytes(size))
    rows, frames, sender = send(b"log", meanwhile=lambda: (home / "log").write_bytes(bytes(size + 1)))
    assert rows == []
    assert sender.done[0].size == size + 1
    assert frames[-1][0] in (b"F", b"E")


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_file_that_never_stands_still_is_a_row_and_is_given_up(send, home, size, monkeypatch):
    (home / "log").write_bytes(bytes(size))
    real = os.fstat

    def touched(fd):
        os.utime(home / "log", ns=(0, real(fd).st_mtime_ns + 1))
        return real(fd)

    monkeypatch.setattr(os, "fstat", touched)
    rows, frames, sender = send(b"log")
    assert rows == [("log", "changed while it was sent, twice")]
    assert sender.done == {}
    assert not frames or frames[-1][0] == b"X"


def test_a_file_that_went_or_became_a_link_is_a_row(send, home):
    for name in ("gone", "link", "kept"):
        (home / name).write_text(name)

    def meanwhile():
        (home / "gone").unlink()
        (home / "link").unlink()
        (home / "link").symlink_to("kept")

    rows, _, sender = send(b"gone", b"link", b"kept", meanwhile=meanwhile)
    why = "vanished while the folder was sent"
    assert rows == [("gone", why), ("link", why)]
    assert list(sender.done) == [2]


def test_a_file_that_refuses_to_be_read_is_a_row(send, home, monkeypatch):
    (home / "file").write_text("x")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "read", refuse)
    assert send(b"file")[0] == [("file", "cannot be read: Permission denied")]
