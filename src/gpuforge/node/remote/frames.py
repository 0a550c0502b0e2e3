"""What a follower of a job is sent: frames of its log, its states and its exit record."""

from __future__ import annotations

import json
import os
import select
import time

from .files import AgentError, read_json, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from .files import Json
    from .folder import JobFolder

_CHUNK = 256 * 1024


class Frames:
    """What a follower writes to stdout: one letter, the length in four bytes, the payload.

    ``J`` the job (JSON), ``L`` bytes of its log, ``S`` its state, ``E`` its exit record, ``T`` that there is
    no more for now, ``X`` an error.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poller = select.poll()
        self._poller.register(descriptor, 0)

    def send(self, letter: bytes, payload: bytes) -> None:
        """Blocks while the reader is behind: memory stays bounded."""
        write_all(self._descriptor, letter + len(payload).to_bytes(4, "big") + payload)

    def send_json(self, letter: bytes, value: Json) -> None:
        """A frame of JSON."""
        self.send(letter, json.dumps(value).encode())

    def hung_up(self, seconds: float) -> bool:
        """Wait; true when the reader went."""
        return bool(self._poller.poll(seconds * 1000))


def follow(folder: JobFolder, frames: Frames, offset: int, started: Json, *, wait: bool = True) -> None:
    """Send the log from ``offset`` (negative: from its end) on; with ``wait``, until the job has ended."""
    if folder.identity is None and folder.record is None:
        raise AgentError("not_found", f"there is no job {folder.job_id} on this node")
    log = os.open(folder.file("log"), os.O_RDONLY | os.O_CREAT, 0o600)
    if offset < 0:
        offset = max(0, os.fstat(log).st_size + offset)
    frames.send_json(b"J", dict(started, offset=offset))
    state: Optional[Json] = None
    delay, probe_at = 0.005, time.monotonic() + 1
    while True:
        record = folder.record  # before the log is read: what follows it is all there is
        latest = read_json(folder.file("state.json"))
        if latest is not None and latest != state:
            state = latest
            frames.send_json(b"S", latest)
        moved = _send_log(log, frames, offset)
        offset += moved
        if record is not None:
            return frames.send_json(b"E", record)
        if not wait:
            return frames.send_json(b"T", {"offset": offset})
        if time.monotonic() >= probe_at:
            probe_at = time.monotonic() + 1
            if folder.reap() is not None:
                continue
        delay = 0.005 if moved else min(delay * 1.2, 0.05)
        if frames.hung_up(delay):
            return None


def _send_log(log: int, frames: Frames, offset: int) -> int:
    sent = 0
    while True:
        data = os.pread(log, _CHUNK, offset + sent)
        if not data:
            return sent
        frames.send(b"L", data)
        sent += len(data)
