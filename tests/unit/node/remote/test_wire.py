"""Frames: too long, cut, read ahead; and payloads that would not fit."""

from __future__ import annotations

import io

import pytest

from gpuforge.node.remote import wire
from gpuforge.node.remote.wire import GoneError, RefusedError, frame, pack, read_ahead, read_frame, unpack


def test_frames_that_are_too_long_or_cut_are_not_taken():
    assert read_frame(io.BytesIO()) == (b"", b"")
    with pytest.raises(GoneError):
        read_frame(io.BytesIO(b"F\0"))
    with pytest.raises(GoneError):
        read_frame(io.BytesIO(frame(b"F", b"abc")[:-1]))
    with pytest.raises(RefusedError):
        read_frame(io.BytesIO(b"F\xff\xff\xff\xff"))


def test_reading_ahead_ends_at_the_finish_and_tells_a_cut():
    source = io.BytesIO(frame(b"F", b"1") + frame(b"Z") + frame(b"H"))
    assert [kind for kind, _ in read_ahead(source)] == [b"F", b"Z"]
    assert read_frame(source)[0] == b"H"
    with pytest.raises(GoneError):
        list(read_ahead(io.BytesIO(frame(b"F", b"12")[:-1])))


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(wire, "_LIMIT", 1000)
    with pytest.raises(RefusedError):
        unpack(pack(bytes(100_000)))
