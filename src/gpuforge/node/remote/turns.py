"""A node's queue of jobs: first come, first served."""

from __future__ import annotations

import fcntl
import os

from .files import read_json
from .folder import JobFolder, job_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List


class Turn:
    """A job's place in the queue of its node."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._earlier: List[str] = []

    def arrive(self, publish: Callable[[], None]) -> None:
        """Take the last place; ``publish`` makes the job known before anybody else can come."""
        queue = os.open(os.path.join(self._folder.root, "jobs", "queue.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(queue, fcntl.LOCK_EX)
            self._earlier = self._others(active_only=False)
            publish()
        finally:
            os.close(queue)

    def has_come(self, *, follows: bool) -> bool:
        """Nobody is before this job. One that ``follows`` another node's queue waits for active jobs."""
        if follows:
            self._earlier = self._others(active_only=True)
        self._earlier = [job_id for job_id in self._earlier if self._is_unfinished(job_id)]
        return not self._earlier

    def _others(self, *, active_only: bool) -> List[str]:
        found = []
        for job_id in job_ids(self._folder.root):
            if job_id == self._folder.job_id or not self._is_unfinished(job_id):
                continue
            state = read_json(JobFolder(self._folder.root, job_id).file("state.json")) or {}
            if not active_only or state.get("state") != "queued":
                found.append(job_id)
        return found

    def _is_unfinished(self, job_id: str) -> bool:
        other = JobFolder(self._folder.root, job_id)
        return other.record is None and other.is_alive()
