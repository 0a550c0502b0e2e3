"""The watcher, one per node: the heartbeat, idleness by use, the preemption notice and the deadline."""

from __future__ import annotations

import contextlib
import os
import time

from . import usage
from .calls import make_call
from .cancel import request_stop
from .files import read_json, write_json
from .folder import JobFolder, job_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Set, Tuple

    from .files import Json


class Watcher:
    """One per node: the heartbeat, idleness by use, the preemption notice and the deadline."""

    def __init__(self, bundle: str, root: str, home: str) -> None:
        self._bundle = bundle
        self._root = root
        self._home = home
        self._config: Json = {}
        self._config_time = (0, 0)
        self._heartbeat = 0.0
        self._sampled = 0.0
        self._cpu: Optional[Tuple[float, int]] = None
        self._idle_since: Optional[float] = None
        self._notice: Optional[float] = None
        self._busy = "starting"
        self._error = ""
        self._retry_at = 0.0
        self._told: Set[Tuple[str, str]] = set()

    def live(self) -> None:
        """Until the machine ends, or a newer agent asks for its place."""
        while not self._is_replaced():
            self.tick(time.time())
            time.sleep(min(1.0, float(self._config.get("tick_seconds", 1.0))))

    def _is_replaced(self) -> bool:
        path = os.path.join(self._root, "watcher.config.json")
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return True
        changed = (found.st_mtime_ns, found.st_ino)  # two writes may fall into one tick of the clock
        if changed != self._config_time:
            self._config = read_json(path) or self._config
            self._heartbeat = 0.0  # it shows at once
            self._config_time = changed
        return bool(self._config.get("agent", self._bundle) != self._bundle)

    def tick(self, now: float) -> None:
        """One look at everything."""
        self._poll_notice(now)
        self._watch_deadline(now)
        if now - self._sampled >= min(10.0, self._beat_seconds):
            self._sampled = now
            self._watch_idleness(now)
        if now - self._heartbeat >= self._beat_seconds:
            self._heartbeat = now
            for job_id in job_ids(self._root):
                JobFolder(self._root, job_id).reap()
            self._report()

    @property
    def _beat_seconds(self) -> float:
        return float(self._config.get("heartbeat_seconds", 30))

    # -- notice and deadline

    def _poll_notice(self, now: float) -> None:
        call = self._config.get("notice")
        if call is not None and self._notice is None:
            try:
                if make_call(call).strip().upper() != b"TRUE":
                    return
            except OSError:
                return  # the metadata service is away for a moment; asked again in a second
            self._notice = now
            self._report()
        if self._notice is not None:
            self._tell_jobs("preemption", None)

    def _watch_deadline(self, now: float) -> None:
        deadline = self._config.get("deadline")
        if deadline is None:
            return
        for job_id in self._active_jobs():
            folder = JobFolder(self._root, job_id)
            grace = float((read_json(folder.file("spec.json")) or {}).get("grace_seconds", 20))
            if now >= float(deadline) - grace - 5:
                self._tell(folder, "deadline", grace)

    def _active_jobs(self) -> List[str]:
        found = []
        for job_id in job_ids(self._root):
            folder = JobFolder(self._root, job_id)
            if folder.record is None and folder.is_alive():
                found.append(job_id)
        return found

    def _tell_jobs(self, reason: str, grace: Optional[float]) -> None:
        for job_id in self._active_jobs():
            self._tell(JobFolder(self._root, job_id), reason, grace)

    def _tell(self, folder: JobFolder, reason: str, grace: Optional[float]) -> None:
        if (folder.job_id, reason) in self._told:
            return
        self._told.add((folder.job_id, reason))
        with contextlib.suppress(OSError):  # a full disk must not keep the signal back
            write_json(folder.file("notice"), {"reason": reason, "time": time.time()})
        request_stop(folder, reason, grace)

    # -- idleness

    def _watch_idleness(self, now: float) -> None:
        self._busy = self.busy_with(now)
        if self._busy:
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now
        minutes = self._config.get("autostop_minutes")
        if minutes is None or now < self._idle_since + float(minutes) * 60 or now < self._retry_at:
            return
        call = self._config.get("self_delete")
        if call is None:
            return  # this identity may not: the deadline ends the machine
        self._busy = self.in_use()  # somebody may have come since
        if self._busy:
            self._idle_since = None
            return
        self._retry_at = now + 60
        self._report()
        try:
            make_call(call)
            self._error = ""
        except OSError as error:
            self._error = f"self-delete failed: {error}"
        self._report()

    def busy_with(self, now: float) -> str:
        """What keeps the machine busy, in a few words; empty when it is idle."""
        share = self._cpu_share(now)
        return self.in_use() or (f"CPU at {share:.0%} of a core" if share > 0.1 else "")

    def in_use(self) -> str:
        """A job, a session or a GPU at work, in a few words."""
        jobs = self._active_jobs()
        if jobs:
            return f"{len(jobs)} job{'s' if len(jobs) > 1 else ''}"
        session = usage.session(self._home)
        if session:
            return session
        gpu = usage.gpu_utilisation()
        return f"GPU at {gpu} %" if gpu > 5 else ""

    def _cpu_share(self, now: float) -> float:
        ticks = sum(process.cpu for process, _ in usage.ours(self._home))
        before, self._cpu = self._cpu, (now, ticks)
        if before is None or now <= before[0]:
            return 1.0  # nothing to compare with yet: count it as use
        return max(0.0, (ticks - before[1]) / os.sysconf("SC_CLK_TCK") / (now - before[0]))

    # -- what is written down

    def _report(self) -> None:
        deadline, minutes = self._config.get("deadline"), self._config.get("autostop_minutes")
        stops = [deadline] if deadline is not None else []
        if self._idle_since is not None and minutes is not None and self._config.get("self_delete"):
            stops.append(self._idle_since + float(minutes) * 60)
        with contextlib.suppress(OSError):
            write_json(
                os.path.join(self._root, "watcher.json"),
                {
                    "pid": os.getpid(),
                    "heartbeat": time.time(),
                    "idle_since": self._idle_since,
                    "busy": self._busy,
                    "next_stop": min(stops) if stops else None,
                    "notice": self._notice,
                    "error": self._error,
                },
            )
