"""A node's folder, jobs in it, and a client of copies by hand."""

from __future__ import annotations

import io
import json
import os
from hashlib import blake2b
from pathlib import Path

import pytest

from gpuforge.node.remote.entries import Entry, encode
from gpuforge.node.remote.files import boot_id, write_json
from gpuforge.node.remote.folder import JobFolder
from gpuforge.node.remote.session import Session
from gpuforge.node.remote.tree import Tree
from gpuforge.node.remote.wire import SMALL, frame, message, pack, read_frame


@pytest.fixture
def root(tmp_path) -> str:
    folder = tmp_path / ".gpuforge"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def made_job(root):
    """Makes a job's folder as a supervisor that is gone left it."""

    def make(job_id: str = "job-1", **identity) -> JobFolder:
        folder = JobFolder(root, job_id)
        Path(folder.path).mkdir(parents=True)
        write_json(folder.file("spec.json"), {"name": "n", "grace_seconds": 0})
        facts = {
            "pid": 2**22 + 1,
            "session": -1,
            "boot_id": boot_id(),
            "rank": 0,
            "submitted": 1.0,
            **identity,
        }
        write_json(folder.file("pid.json"), facts)
        folder.reserve()
        return folder

    return make


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def tree(home):
    found = Tree(os.open(home, os.O_RDONLY))
    yield found
    found.close()


class ByHand:
    """What a client of copies says, frame by frame, and a session to say it to."""

    file = Entry(b"file", b"f", 0o644, 4, 5)

    def __init__(self, home: Path) -> None:
        self._home = home

    def serve(self, *frames: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Feed frames to a session, get its exit code and its answers."""
        target = io.BytesIO()
        code = Session(io.BytesIO(b"".join(frames)), target, str(self._home)).serve()
        source, answers = io.BytesIO(target.getvalue()), []
        while (answer := read_frame(source))[0]:
            answers.append(answer)
        return code, answers

    @staticmethod
    def hello(op: str = "push", **named: object) -> bytes:
        head = {"version": 1, "op": op, "root": "workdir", "state": "", "manifest": True}
        return message(b"H", {**head, **named})

    @staticmethod
    def manifest(*entries: Entry) -> bytes:
        return frame(b"M", pack(encode(entries)))

    @staticmethod
    def orders(delete=(), make=()) -> bytes:
        return message(b"P", {"delete": list(delete), "make": list(make)})

    @staticmethod
    def small(index: int, data: bytes, digest: bytes | None = None) -> bytes:
        raw = digest or blake2b(data, digest_size=16).digest()
        return frame(b"F", SMALL.pack(index, 0o644, 5, len(data), raw) + data)

    @staticmethod
    def rows(answers) -> list:
        return [json.loads(payload) for kind, payload in answers if kind == b"R"]

    @staticmethod
    def reason(answers) -> str:
        kind, payload = answers[-1]
        assert kind == b"!"
        return json.loads(payload)["reason"]


@pytest.fixture
def hand(home) -> ByHand:
    return ByHand(home)
