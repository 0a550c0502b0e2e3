"""The supervisor: the process that takes one job on this node from the queue to its exit record."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from .files import boot_id, read_json, write_all, write_json
from .ports import free_port
from .processes import become_subreaper, descendants, first_programs, processes, send
from .records import STOPS, Stop, decode_status, describe_exit, make_record
from .shells import environment_for, spawn
from .turns import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from .files import Json
    from .folder import JobFolder
    from .gang import Gang

_LEFTOVER_GRACE = 5.0  # for what a finished job left behind


class Supervisor:
    """Runs one job on this node: its turn, setup, the gang's start, run, and the end of its tree."""

    def __init__(self, folder: JobFolder, home: str, spec: Json, secrets: Json) -> None:
        self.folder = folder
        self.home = home
        self.spec = spec
        self.secrets = secrets
        self.rank = int(spec.get("rank", 0))
        self.stop: Optional[Stop] = None
        self.phase = "start"
        self.shell: Optional[int] = None
        self.status: Optional[int] = None  # of the phase's shell, once it ended
        self.gang: Optional[Gang] = make_gang(spec, str(secrets["token"]))
        self.port: Optional[int] = None
        self._started: Optional[float] = None
        self._deadline: Optional[float] = None
        self._terminated = False
        self._lost_output = False
        self._requested = True  # look for a request at least once
        self._turn = Turn(folder)

    # -- arrival and the queue

    def arrive(self) -> None:
        """Take a place in the node's queue, listen to signals, and become known."""
        become_subreaper()
        self._wake, write_end = os.pipe()
        for descriptor in (self._wake, write_end):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._log = os.open(self.folder.file("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._output, self._job_output = os.pipe()
        os.set_blocking(self._output, False)
        self._turn.arrive(self._publish_identity)
        self._say("queued", "queue")

    def _publish_identity(self) -> None:
        me = processes().get(os.getpid())
        write_json(
            self.folder.file("pid.json"),
            {
                "pid": os.getpid(),
                "session": os.getsid(0),
                "started_ticks": me.started if me else 0,
                "boot_id": boot_id(),
                "rank": self.rank,
                "submitted": time.time(),
                "port": self.gang.listening if self.gang else None,
            },
        )

    def _await_turn(self) -> None:
        """First come, first served. The head's queue is the gang's: two gangs never wait for each other."""
        while self.rank > 0 and self.gang and not (self.gang.turn or self.stop):
            self.pump(0.5)
        delay = 0.01
        while not self.stop and not self._turn.has_come(follows=self.rank > 0):
            self.pump(delay)
            delay = min(delay * 1.5, 0.2)
        if self.gang:
            self.gang.announce_turn()

    # -- the course of the job

    def live(self) -> Json:
        """All of it; returns the exit record."""
        self._await_turn()
        limit = self.spec.get("timeout_seconds")
        if limit is not None:
            self._deadline = time.monotonic() + float(limit)
        for phase in ("setup", "run"):
            if self.stop:
                break
            if phase == "run":
                self._await_gang()
            if not self.stop and self.spec.get(phase, "").strip():
                self._run_phase(phase)
            if self.status:
                break
        self._end_tree(self.stop.grace if self.stop else _LEFTOVER_GRACE)
        self._drain()
        return self._verdict(self._own_record())

    def _await_gang(self) -> None:
        if self.gang is None:
            if self.spec.get("port_variables"):
                self.port = free_port()
            return
        self._say("waiting", "wait")
        self.gang.ready()
        while not self.stop and self.gang.port is None:
            self.pump(0.5)
        self.port = self.gang.port

    def _run_phase(self, phase: str) -> None:
        self.phase = phase
        self.status = None
        if self._started is None:
            self._started = time.time()
        self._say("running", phase)
        environment = environment_for(self.folder, self.home, self.spec, self.secrets, phase, self.port)
        self.shell = spawn(self.folder, self.home, self.spec, phase, environment, self._job_output)
        while not self._phase_is_over():
            self.pump(0.5)

    def _phase_is_over(self) -> bool:
        return self.status is not None or self.stop is not None

    # -- one turn of the loop

    def pump(self, seconds: float) -> None:
        """Wait for anything to happen, at most ``seconds``, and deal with it."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(self._output, select.POLLIN)
        for descriptor in self.gang.descriptors() if self.gang else ():
            poller.register(descriptor, select.POLLIN)
        if self.gang:
            seconds = min(seconds, self.gang.patience)
        if self._deadline is not None:
            seconds = min(seconds, max(0.0, self._deadline - time.monotonic()))
        ready = {descriptor for descriptor, _ in poller.poll(seconds * 1000)}
        if self._output in ready:
            self._copy_output()
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        self._reap_children()
        self._read_request()
        if self.gang:
            self.gang.service(ready, time.monotonic())
            self._follow_gang(self.gang)
        if self._deadline is not None and time.monotonic() >= self._deadline and not self.stop:
            limit = self.spec["timeout_seconds"]
            self.begin_stop("failed", f"ran longer than its limit of {limit} s", exit_code=75)

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._requested = True
        if number == signal.SIGTERM and not self.stop:
            state, code, cause = STOPS["shutdown"]
            self.begin_stop(state, cause, exit_code=code)

    def _reap_children(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.shell:
                self.status = status
                self.shell = None

    def _read_request(self) -> None:
        if self.stop or not self._requested:
            return
        self._requested = False
        request = read_json(self.folder.file("cancel.json"))
        if request is not None:
            state, code, cause = STOPS.get(request.get("reason", "user"), STOPS["user"])
            self.begin_stop(state, cause, exit_code=code, grace=request.get("grace"))

    def begin_stop(
        self, state: str, cause: str, *, exit_code: Optional[int], grace: Optional[float] = None
    ) -> None:
        """Decide that the job ends now; the loop carries it out, and the gang hears of it."""
        grace = float(self.spec.get("grace_seconds", 20) if grace is None else grace)
        self.stop = Stop(state, cause, exit_code=exit_code, grace=grace)
        if self.gang:
            self.gang.stopping(state, cause)

    def _follow_gang(self, gang: Gang) -> None:
        verdict = gang.verdict
        if verdict is None or self.stop:
            return
        if verdict["rank"] == self.rank:
            if gang.own is None:  # the others gave this node up and go on without it
                self.stop = Stop("lost", verdict["cause"], exit_code=None, grace=_LEFTOVER_GRACE)
            return
        state = "cancelled" if verdict["state"] == "cancelled" else "failed"
        self.stop = Stop(
            state,
            verdict["cause"],
            exit_code=137,
            grace=float(self.spec.get("grace_seconds", 20)),
            is_consequence=True,
        )

    def _copy_output(self) -> None:
        try:
            data = os.read(self._output, 1024 * 1024)
        except BlockingIOError:
            return
        try:
            if not self._lost_output:
                write_all(self._log, data)
        except OSError:
            # a full disk: the job may still end well, its record says what is missing
            self._lost_output = True

    def _drain(self) -> None:
        while select.select([self._output], [], [], 0)[0]:
            self._copy_output()

    # -- the end of the tree

    def _end_tree(self, grace: float) -> None:
        """TERM in order, KILL after the grace, until nothing of the job is left."""
        if not descendants(os.getpid()):
            return self._reap_children()
        self._terminate()
        kill_at = time.monotonic() + grace
        delay = 0.005
        while True:
            self.pump(delay)
            delay = min(delay * 1.5, 0.1)
            left = descendants(os.getpid())
            if not left:
                return self._reap_children()  # the last ones too: not every init cleans up after us
            if self.stop and kill_at > time.monotonic() + self.stop.grace:
                kill_at = time.monotonic() + self.stop.grace
            if time.monotonic() >= kill_at:
                for pid in left:
                    send(pid, signal.SIGKILL)
            if time.monotonic() >= kill_at + 10:
                return None  # in the kernel's hands: nothing more can be done from here

    def _terminate(self) -> None:
        """SIGTERM, once, to the first programs that are no shells; then to the shells."""
        if self._terminated:
            return
        self._terminated = True
        programs, shells = first_programs(os.getpid())
        for pid in shells:
            send(pid, signal.SIGSTOP)  # or one could go on to its next command in between
        for pid in [*programs, *shells]:
            send(pid, signal.SIGTERM)
        for pid in shells:
            send(pid, signal.SIGCONT)

    def kill_everything(self) -> None:
        """For a supervisor that cannot go on."""
        for pid in descendants(os.getpid()):
            send(pid, signal.SIGKILL)

    # -- what is written down

    def _say(self, state: str, phase: str) -> None:
        value = {"state": state, "phase": phase, "started": self._started, "since": time.time()}
        with contextlib.suppress(OSError):  # a full disk does not end a job
            write_json(self.folder.file("state.json"), value)

    def _own_record(self) -> Json:
        code, number = decode_status(self.status)
        note = "; the log is incomplete: the disk is full" if self._lost_output else ""
        if self.stop:
            stop = self.stop
            return make_record(
                self.rank,
                stop.state,
                phase=self.phase,
                cause=stop.cause + note,
                exit_code=code if stop.exit_code is None else stop.exit_code,
                number=number,
                is_consequence=stop.is_consequence,
            )
        if not code:
            return make_record(self.rank, "succeeded", phase=self.phase, cause=note[2:], exit_code=0)
        cause = describe_exit(code, number)
        if self.phase == "setup":
            cause = f"setup failed: {cause}"
        return make_record(
            self.rank, "failed", phase=self.phase, cause=cause + note, exit_code=code, number=number
        )

    def _verdict(self, record: Json) -> Json:
        """In a gang, whose fault it was is the head's to say; wait for it."""
        gang = self.gang
        if gang is None or self.stop:
            if gang is not None:
                gang.ended(record)
            return record
        gang.ended(record)
        while not gang.settled and not gang.verdict:
            self.pump(0.5)
        verdict = gang.verdict
        if verdict is None or verdict["rank"] == self.rank:
            return record
        if self.stop and self.stop.state == "cancelled" and record["state"] == "succeeded":
            return record
        if record["state"] == "succeeded":
            record = dict(record, state="failed", exit_code=137)
        return dict(record, cause=verdict["cause"], is_consequence=True)

    def linger(self) -> None:
        """The head stays a little for members that have not heard the outcome."""
        give_up = time.monotonic() + 10
        while self.gang and not self.gang.delivered and time.monotonic() < give_up:
            self.pump(0.2)


def make_gang(spec: Json, token: str) -> Optional[Gang]:
    """This node's part; ``None`` for a job on one node."""
    if int(spec.get("num_nodes", 1)) < 2:
        return None
    if int(spec["rank"]) == 0:
        from .head import Head

        return Head(spec, token)
    from .member import Member

    return Member(spec, token)
