"""The end of a job by request."""

from __future__ import annotations

import os
import signal
import time

from .files import AgentError, read_json, write_json
from .folder import JobFolder, list_status
from .processes import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from .files import Json


def request_stop(folder: JobFolder, reason: str, grace: Optional[float]) -> None:
    """Ask a job's supervisor to end it; the first request stays."""
    if folder.record is not None or not folder.is_alive():
        return
    path = folder.file("cancel.json")
    if not os.path.exists(path):
        write_json(path, {"reason": reason, "grace": grace})
    identity = folder.identity
    if identity is not None and folder.is_alive():
        send(int(identity["pid"]), signal.SIGUSR1)


def cancel(root: str, request: Json) -> Json:
    """End a job and wait until nothing of it is left; returns its status."""
    folder = JobFolder(root, str(request["job_id"]))
    if folder.identity is None:
        raise AgentError("not_found", f"there is no job {folder.job_id} on this node")
    grace = request.get("grace")
    request_stop(folder, "user", grace)
    spec = read_json(folder.file("spec.json")) or {}
    give_up = time.monotonic() + float(spec.get("grace_seconds", 20) if grace is None else grace) + 15
    delay = 0.005
    while time.monotonic() < give_up:
        if folder.record is not None or folder.reap() is not None:
            break
        time.sleep(delay)
        delay = min(delay * 1.5, 0.1)
    return list_status(root, [folder.job_id])[0]
