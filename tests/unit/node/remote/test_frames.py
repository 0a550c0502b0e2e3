"""What a follower of a job is sent, and when it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gpuforge.node.remote.files import write_json
from gpuforge.node.remote.frames import Frames, follow
from gpuforge.node.remote.records import make_record


def frames_of(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[1:5], "big")
        found.append((data[:1].decode(), data[5 : 5 + length]))
        data = data[5 + length :]
    return found


def test_a_follower_sends_the_log_from_its_offset_then_the_record(made_job, tmp_path):
    folder = made_job()
    Path(folder.file("log")).write_bytes(b"0123456789")
    write_json(folder.file("state.json"), {"state": "running"})
    record = folder.claim(make_record(0, "failed", phase="run", cause="exit 3", exit_code=3))
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)

    follow(folder, Frames(out), 4, {"job_id": "job-1"})
    frames = frames_of((tmp_path / "out").read_bytes())
    os.close(out)

    assert [letter for letter, _ in frames] == ["J", "S", "L", "E"]
    assert json.loads(frames[0][1])["offset"] == 4
    assert frames[2][1] == b"456789"
    assert json.loads(frames[3][1]) == record


def test_a_follower_ends_when_its_reader_went(made_job):
    folder = made_job()
    lock = folder.take_lock()
    reader, writer = os.pipe()
    frames = Frames(writer)
    os.close(reader)

    with pytest.raises(BrokenPipeError):
        follow(folder, frames, 0, {})
    assert frames.hung_up(0)
    os.close(writer)
    os.close(lock)


def test_a_follower_finds_out_that_the_supervisor_died(made_job, tmp_path):
    folder = made_job()
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)

    follow(folder, Frames(out), 0, {})
    os.close(out)

    letter, payload = frames_of((tmp_path / "out").read_bytes())[-1]
    assert (letter, json.loads(payload)["state"]) == ("E", "lost")


def test_a_follower_that_does_not_wait_says_that_there_is_no_more(made_job, tmp_path):
    folder = made_job()
    Path(folder.file("log")).write_bytes(b"0123456789")
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)

    follow(folder, Frames(out), -3, {}, wait=False)
    os.close(out)

    frames = frames_of((tmp_path / "out").read_bytes())
    assert [(letter, payload) for letter, payload in frames if letter in "LT"] == [
        ("L", b"789"),
        ("T", b'{"offset": 10}'),
    ]
