"""A job's folder on the node, and what can be told from it.

Under ``~/.gpuforge/jobs/<job id>/``::

    spec.json     what runs, without secrets (those live in the environment of the job alone)
    lock          held by the job's supervisor for its life: free means that it is dead
    pid.json      the supervisor: pid, session, boot id, port of the gang
    state.json    queued, waiting, running, and since when
    log           what the job printed, byte for byte
    cancel.json   a request to stop, and why
    exit.json     how it ended: written exactly once, by whoever holds the lock
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import time

from .files import AgentError, boot_id, read_json, write_all
from .processes import leftovers, send
from .records import make_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from .files import Json

_JOB_ID = re.compile(r"[0-9a-z][0-9a-z-]{0,63}")
_RESERVE = 4096


class JobFolder:
    """Paths and the two promises of a job's folder: started at most once, exactly one exit record."""

    def __init__(self, root: str, job_id: str) -> None:
        if not _JOB_ID.fullmatch(job_id):
            raise AgentError("bad_request", f"{job_id!r} is not a job id")
        self.root = root
        self.job_id = job_id
        self.path = os.path.join(root, "jobs", job_id)

    def file(self, name: str) -> str:
        """A file of the job."""
        return os.path.join(self.path, name)

    @property
    def record(self) -> Optional[Json]:
        """The exit record, once there is one."""
        return read_json(self.file("exit.json"))

    @property
    def identity(self) -> Optional[Json]:
        """Who supervises; there from the moment the job counts as started."""
        return read_json(self.file("pid.json"))

    def take_lock(self, *, shared: bool = False) -> Optional[int]:
        """The job's lock, or ``None`` while its supervisor lives. ``shared`` only asks."""
        try:
            descriptor = os.open(self.file("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_alive(self) -> bool:
        """Whether a supervisor holds the lock."""
        descriptor = self.take_lock(shared=True)
        if descriptor is None:
            return os.path.exists(self.path)
        os.close(descriptor)
        return False

    def lock_to_start(self) -> Optional[int]:
        """The lock for the one who may start the job; ``None`` when it was started before."""
        give_up = time.monotonic() + 5
        while True:
            if self.identity is not None or self.record is not None:
                return None
            descriptor = self.take_lock()
            if descriptor is not None:
                if not os.path.exists(self.file("pid.json")):
                    return descriptor
                os.close(descriptor)
            elif time.monotonic() > give_up:
                raise AgentError("busy", f"job {self.job_id} is being started by someone else")
            time.sleep(0.01)

    def reserve(self) -> None:
        """Put the exit record's room on disk now, so that a full disk cannot refuse it later."""
        descriptor = os.open(self.file("exit.json.reserve"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            write_all(descriptor, b" " * _RESERVE)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def claim(self, record: Json) -> Json:
        """Write the exit record, the lock being held; the first one stays. Returns the one that stands."""
        earlier = self.record
        if earlier is not None:
            return earlier
        data = json.dumps(record).encode()
        if len(data) > _RESERVE:
            data = json.dumps(dict(record, cause=record["cause"][:256])).encode()
        # in place over the reserved blocks: padded, never shortened first
        descriptor = os.open(self.file("exit.json.reserve"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            write_all(descriptor, data.ljust(_RESERVE))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(self.file("exit.json.reserve"), self.file("exit.json"))
        return record

    def reap(self) -> Optional[Json]:
        """Record the end of a job whose supervisor is dead, and kill what it left. ``None``: it lives."""
        identity = self.identity
        if identity is None:
            return self.record
        descriptor = self.take_lock()
        if descriptor is None:
            return self.record
        try:
            if self.record is None:
                kill_all(self.path, identity)
                rebooted = identity.get("boot_id") != boot_id()
                cause = "the machine was rebooted" if rebooted else "its supervisor was killed"
                state = read_json(self.file("state.json")) or {}
                self.claim(
                    make_record(
                        identity.get("rank", 0), "lost", phase=state.get("phase", "start"), cause=cause
                    )
                )
        finally:
            os.close(descriptor)
        return self.record


def kill_all(folder: str, identity: Json) -> None:
    """SIGKILL what a dead supervisor left, until nothing is left (at most 10 s)."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        pids = leftovers(folder, identity)
        if not pids:
            return
        for pid in pids:
            send(pid, signal.SIGKILL)
        time.sleep(0.01)


def job_ids(root: str) -> List[str]:
    """Every job that was started here, oldest first."""
    folder = os.path.join(root, "jobs")
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(
        name
        for name in names
        if _JOB_ID.fullmatch(name) and os.path.exists(os.path.join(folder, name, "pid.json"))
    )


def started(folder: JobFolder, *, already: bool) -> Json:
    """What a client is told of a job that runs, or ran, here."""
    identity = folder.identity or {}
    ids = job_ids(folder.root)
    return {
        "job_id": folder.job_id,
        "already": already,
        "alias": ids.index(folder.job_id) + 1 if folder.job_id in ids else 0,
        "port": identity.get("port"),
    }


def job_status(folder: JobFolder, alias: int) -> Json:
    """Where a job stands; finds out when its supervisor is dead."""
    record = folder.record or folder.reap()
    spec = read_json(folder.file("spec.json")) or {}
    state = read_json(folder.file("state.json")) or {}
    identity = folder.identity or {}
    try:
        size = os.path.getsize(folder.file("log"))
    except OSError:
        size = 0
    return {
        "job_id": folder.job_id,
        "alias": alias,
        "name": spec.get("name", ""),
        "rank": identity.get("rank", 0),
        "state": record["state"] if record else state.get("state", "queued"),
        "phase": record["phase"] if record else state.get("phase", "start"),
        "submitted": identity.get("submitted", 0.0),
        "started": state.get("started"),
        "record": record,
        "log_size": size,
    }


def list_status(root: str, wanted: Optional[List[str]]) -> List[Json]:
    """The status of all jobs, or of those wanted that are here."""
    ids = job_ids(root)
    return [
        job_status(JobFolder(root, job_id), number)
        for number, job_id in enumerate(ids, 1)
        if wanted is None or job_id in wanted
    ]
