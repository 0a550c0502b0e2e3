"""The agent: the one file of gpuforge that runs on every node; it starts, watches and ends jobs.

The client runs it as ``python3 -I -S`` with a command and JSON on stdin (imported, so that its compiled form
is kept beside it). It needs the standard library of Python 3.8 alone, and imports late, because its start-up
is part of every command. It leaves to the client what a
job is and what its states mean to a person; it knows no cloud.

State of a job, under ``~/.gpuforge/jobs/<job id>/``::

    spec.json     what runs, without secrets (those live in the environment of the job alone)
    lock          held by the job's supervisor for its life: free means that it is dead
    pid.json      the supervisor: pid, session, boot id, port of the gang
    state.json    queued, waiting, running, and since when
    log           what the job printed, byte for byte
    cancel.json   a request to stop, and why
    exit.json     how it ended: written exactly once, by whoever holds the lock
"""

# pathlib costs a third of the agent's start-up:
# ruff: noqa: PTH100, PTH101, PTH103, PTH104, PTH105, PTH110, PTH115, PTH116, PTH118, PTH119, PTH120, PTH123
# ruff: noqa: PTH202, PTH208, PTH211
# sockets, ctypes and HTTP are imported where they are needed, for the same reason:
# ruff: noqa: PLC0415

from __future__ import annotations

import abc
import contextlib
import errno
import fcntl
import json
import os
import re
import select
import signal
import sys
import time
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

Json = Dict[str, Any]

VERSION = 1
_SELF = os.path.abspath(__file__)
_JOB_ID = re.compile(r"[0-9a-z][0-9a-z-]{0,63}")
_MARKER = "GPUFORGE_JOB_ID"  # in the environment of everything a job starts
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "busybox", "fish"}
_CHUNK = 256 * 1024
_RESERVE = 4096
_LEFTOVER_GRACE = 5.0  # for what a finished job left behind
_LINE = 64 * 1024

# reason of a stop -> (state, exit code, cause)
_STOPS: Dict[str, Tuple[str, Optional[int], str]] = {
    "user": ("cancelled", None, "cancelled"),
    "preemption": ("lost", None, "the machine is being preempted"),
    "deadline": ("failed", 75, "the machine's deadline has come"),
    "shutdown": ("lost", None, "the machine is shutting down"),
}

_PROLOGUE = """\
unset BASH_ENV
__gpuforge_cwd=$PWD
if [ -f ~/.bashrc ]; then . ~/.bashrc; fi
__gpuforge_conda=$(command -v conda)
if [ -f "${__gpuforge_conda%/*/*}/etc/profile.d/conda.sh" ]; then
  . "${__gpuforge_conda%/*/*}/etc/profile.d/conda.sh"
fi
export PYTHONUNBUFFERED=1
cd "$__gpuforge_cwd"
unset __gpuforge_cwd __gpuforge_conda
"""


class AgentError(Exception):
    """What went wrong, for the client: ``code`` is the kind."""

    def __init__(self, code: str, brief: str, resolution: str = "") -> None:
        super().__init__(brief)
        self.code = code
        self.resolution = resolution


# --- small files ------------------------------------------------------------------------------------------


def read_json(path: str) -> Optional[Json]:
    """The file's content; ``None`` when it is not there or not whole."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: str, value: Json) -> None:
    """Replace the file whole."""
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(descriptor, json.dumps(value).encode())
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def write_all(descriptor: int, data: bytes) -> None:
    """``os.write`` until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def boot_id() -> str:
    """Changes with every boot; empty where the system has none.

    A simulated machine boots without its kernel doing so, and says it in its environment.
    """
    simulated = os.environ.get("GPUFORGE_BOOT_ID")
    if simulated:
        return simulated
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


# --- processes --------------------------------------------------------------------------------------------


class Process:
    """One line of /proc."""

    __slots__ = ("cpu", "parent", "pid", "session", "started")

    def __init__(self, pid: int, fields: List[bytes]) -> None:
        self.pid = pid
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.cpu = int(fields[11]) + int(fields[12])
        self.started = int(fields[19])


def processes() -> Dict[int, Process]:
    """Every living process (zombies left out); empty where there is no /proc."""
    found: Dict[int, Process] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields and fields[0] not in (b"Z", b"X"):
            found[int(name)] = Process(int(name), fields)
    return found


def descendants(root: int, table: Optional[Dict[int, Process]] = None) -> List[int]:
    """All living processes below ``root``, parents before children."""
    table = processes() if table is None else table
    children: Dict[int, List[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    ordered = sorted(children.get(root, ()))
    for pid in ordered:  # grows while it is walked
        ordered.extend(sorted(children.get(pid, ())))
    return ordered


def is_shell(pid: int) -> bool:
    """Whether the process runs a shell, also behind a script's own name."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) in _SHELLS
    except OSError:
        return False


def first_programs(root: int) -> Tuple[List[int], List[int]]:
    """The first programs below ``root`` that are no shells, and the shells above them.

    What those programs started (worker processes, data loaders) is left out: it lives until they end.
    """
    table = processes()
    children: Dict[int, List[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    programs: List[int] = []
    shells: List[int] = []
    pending = list(children.get(root, ()))
    while pending:
        pid = pending.pop()
        if is_shell(pid):
            shells.append(pid)
            pending.extend(children.get(pid, ()))
        else:
            programs.append(pid)
    return programs, shells


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def environment_of(pid: int) -> Dict[bytes, bytes]:
    """The environment a process was started with; empty when it is not ours to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            pairs = (item.partition(b"=") for item in file.read().split(b"\0") if item)
            return {name: value for name, _, value in pairs}
    except OSError:
        return {}


def leftovers(job_id: str, identity: Json) -> List[int]:
    """Processes of a job whose supervisor is dead: by its marker, or by its session and start."""
    marker, wanted = _MARKER.encode(), job_id.encode()
    session, since = identity.get("session"), identity.get("started_ticks", 0)
    found = []
    for process in processes().values():
        if process.pid == os.getpid():
            continue
        in_session = process.session == session and process.started >= since
        if in_session or environment_of(process.pid).get(marker) == wanted:
            found.append(process.pid)
    return found


def become_subreaper() -> None:
    """Orphans below this process become its children (Linux), so that none gets away."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    except (ImportError, OSError, AttributeError):
        return


# --- a job's folder ---------------------------------------------------------------------------------------


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
                kill_all(self.job_id, identity)
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


def kill_all(job_id: str, identity: Json) -> None:
    """SIGKILL what a dead supervisor left, until nothing is left (at most 10 s)."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        pids = leftovers(job_id, identity)
        if not pids:
            return
        for pid in pids:
            send(pid, signal.SIGKILL)
        time.sleep(0.01)


def make_record(
    rank: int,
    state: str,
    *,
    phase: str,
    cause: str,
    exit_code: Optional[int] = None,
    number: Optional[int] = None,
    is_consequence: bool = False,
) -> Json:
    """An exit record, as the client reads it."""
    return {
        "rank": rank,
        "state": state,
        "exit_code": exit_code,
        "signal": number,
        "phase": phase,
        "cause": cause,
        "ended": time.time(),
        "is_consequence": is_consequence,
    }


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


# --- start ------------------------------------------------------------------------------------------------


def start(root: str, home: str, request: Json) -> Json:
    """Start a job under a supervisor of its own; a job that was started before is left alone.

    The supervisor never returns from here: it ends with its process.
    """
    spec = dict(request["spec"])
    secrets = {"env": spec.pop("secrets", {}), "token": spec.pop("token", "")}
    folder = JobFolder(root, str(spec["job_id"]))
    os.makedirs(folder.path, 0o700, exist_ok=True)
    lock = folder.lock_to_start()
    if lock is None:
        return _started(folder, already=True)
    try:
        write_json(folder.file("spec.json"), spec)
        folder.reserve()
        _write_scripts(folder, spec)
    except OSError as error:
        os.close(lock)
        raise AgentError("start", f"job {folder.job_id} cannot be stored here: {error.strerror}") from error
    reader, writer = os.pipe()
    sys.stdout.flush()
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.close(reader)
        _supervise(folder, home, spec, secrets, lock, writer)
        sys.exit(0)
    os.close(writer)
    os.close(lock)
    os.waitpid(first, 0)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    if answer != b"ok":
        raise AgentError("start", answer.decode(errors="replace") or "the job's supervisor did not start")
    return _started(folder, already=False)


def _started(folder: JobFolder, *, already: bool) -> Json:
    identity = folder.identity or {}
    ids = job_ids(folder.root)
    return {
        "job_id": folder.job_id,
        "already": already,
        "alias": ids.index(folder.job_id) + 1 if folder.job_id in ids else 0,
        "port": identity.get("port"),
    }


def _write_scripts(folder: JobFolder, spec: Json) -> None:
    scripts = {"prologue.sh": _PROLOGUE, "setup.sh": spec.get("setup", ""), "run.sh": spec.get("run", "")}
    for name, text in scripts.items():
        with open(folder.file(name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(folder.file(name), 0o600)


def _supervise(folder: JobFolder, home: str, spec: Json, secrets: Json, lock: int, writer: int) -> None:
    """The life of a job's supervisor, in its own process."""
    _detach(folder.file("supervisor.log"), keep={lock, writer})
    try:
        supervisor = Supervisor(folder, home, spec, secrets)
        supervisor.arrive()
    except (OSError, ValueError, AgentError) as error:
        os.write(writer, f"job {folder.job_id} could not be started: {error}".encode())
        os.close(writer)
        return
    os.write(writer, b"ok")
    os.close(writer)
    try:
        record = supervisor.live()
    except Exception as error:  # noqa: BLE001 - the agent's one loop: whatever happens, the job's end is recorded
        import traceback

        traceback.print_exc()
        supervisor.kill_everything()
        record = make_record(
            supervisor.rank, "failed", phase="start", cause=f"the agent failed: {error!r}", exit_code=70
        )
    folder.claim(record)
    supervisor.linger()
    os.close(lock)


def _detach(log: str, keep: Set[int]) -> None:
    """No descriptor of the session stays: it could not end."""
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(source, target)
    low = 3
    for kept in [*sorted(keep), _last_descriptor()]:
        os.closerange(low, kept)
        low = kept + 1


def _last_descriptor() -> int:
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 65536 if soft < 0 else min(soft, 65536)


# --- the supervisor ---------------------------------------------------------------------------------------


class Stop:
    """Why a job is being ended before its time."""

    __slots__ = ("cause", "exit_code", "grace", "is_consequence", "state")

    def __init__(
        self, state: str, cause: str, *, exit_code: Optional[int], grace: float, is_consequence: bool = False
    ) -> None:
        self.state = state
        self.cause = cause
        self.exit_code = exit_code
        self.grace = grace
        self.is_consequence = is_consequence


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
        self._earlier: List[str] = []

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
        queue = os.open(os.path.join(self.folder.root, "jobs", "queue.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(queue, fcntl.LOCK_EX)
            self._earlier = self._others(active_only=False)
            self._publish_identity()
        finally:
            os.close(queue)
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

    def _others(self, *, active_only: bool) -> List[str]:
        found = []
        for job_id in job_ids(self.folder.root):
            other = JobFolder(self.folder.root, job_id)
            if job_id == self.folder.job_id or other.record is not None or not other.is_alive():
                continue
            state = read_json(other.file("state.json")) or {}
            if not active_only or state.get("state") != "queued":
                found.append(job_id)
        return found

    def _await_turn(self) -> None:
        """First come, first served. The head's queue is the gang's: two gangs never wait for each other."""
        while self.rank > 0 and self.gang and not (self.gang.turn or self.stop):
            self.pump(0.5)
        delay = 0.01
        while not self.stop:
            if self.rank > 0:
                self._earlier = self._others(active_only=True)
            self._earlier = [job_id for job_id in self._earlier if self._is_unfinished(job_id)]
            if not self._earlier:
                break
            self.pump(delay)
            delay = min(delay * 1.5, 0.2)
        if self.gang:
            self.gang.announce_turn()

    def _is_unfinished(self, job_id: str) -> bool:
        other = JobFolder(self.folder.root, job_id)
        return other.record is None and other.is_alive()

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
        self._spawn(phase)
        while not self._phase_is_over():
            self.pump(0.5)

    def _phase_is_over(self) -> bool:
        return self.status is not None or self.stop is not None

    def _spawn(self, phase: str) -> None:
        workdir = os.path.join(self.home, self.spec.get("workdir", "workdir"))
        os.makedirs(workdir, exist_ok=True)
        with contextlib.suppress(OSError):
            os.symlink(os.path.relpath(workdir, self.home), os.path.join(self.home, "sky_workdir"))
        environment = self._environment(phase)
        os.makedirs(environment["GPUFORGE_CHECKPOINT_DIR"], exist_ok=True)
        argv = ["bash", self.folder.file(f"{phase}.sh")]
        pid = os.fork()
        if pid:
            self.shell = pid
            return
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self._job_output, 1)
            os.dup2(self._job_output, 2)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(workdir)
            os.execvpe("bash", argv, environment)  # noqa: S606 - bash is the shell
        except OSError as error:
            os.write(2, f"gpuforge: cannot start bash in {workdir}: {error}\n".encode())
        finally:
            os._exit(126)

    def _environment(self, phase: str) -> Dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SSH_")}
        port = {} if self.port is None else dict.fromkeys(self.spec.get("port_variables", ()), str(self.port))
        checkpoints = os.path.join(self.home, "checkpoints", self.spec.get("checkpoints") or "job")
        return {
            **inherited,
            **self.spec.get("envs", {}),
            **self.secrets["env"],
            **self.spec.get("env", {}),
            **self.spec.get(f"{phase}_env", {}),
            **(port if phase == "run" else {}),
            "PYTHONUNBUFFERED": "1",
            "BASH_ENV": self.folder.file("prologue.sh"),
            "GPUFORGE_CHECKPOINT_DIR": checkpoints,
            "GPUFORGE_NOTICE_FILE": self.folder.file("notice"),
            _MARKER: self.folder.job_id,
        }

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
            state, code, cause = _STOPS["shutdown"]
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
            state, code, cause = _STOPS.get(request.get("reason", "user"), _STOPS["user"])
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


def decode_status(status: Optional[int]) -> Tuple[Optional[int], Optional[int]]:
    """Exit code and signal of a shell: its own, or the one its last program died of (128 + n)."""
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return code, code - 128 if 128 < code <= 128 + 64 else None


def describe_exit(code: int, number: Optional[int]) -> str:
    """One line for a person."""
    if number is None:
        return f"exit {code}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exit {code}"
    return f"killed by {name}" + (" (out of memory?)" if number == signal.SIGKILL else "")


# --- the gang ---------------------------------------------------------------------------------------------
#
# The head's supervisor listens; every other node's connects to it and stays connected. No client takes part.
# Lines of JSON. Head to member: nonce, mac, turn, go, roll, noted, verdict. Member to head: hello, ready,
# stopping, ended, ping. What a member says is said again after a reconnect, so that nothing is lost.


class Closed(Exception):  # noqa: N818 - not an error: the other side went
    """The connection ended."""


class Line:
    """Lines of JSON over a non-blocking socket."""

    def __init__(self, connection: Any, received: bytes = b"") -> None:
        connection.setblocking(False)
        self.socket = connection
        self._received = received
        self._ended = False

    def send(self, message: Json) -> bool:
        """Nothing is queued: our messages are small, a peer that does not read them is as good as gone."""
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> List[Json]:
        """The messages that have come; an end of the connection is told after the last of them."""
        while not self._ended:
            try:
                data = self.socket.recv(65536)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            self._received += data
            self._ended = not data or len(self._received) > 4 * _LINE
        if self._ended and b"\n" not in self._received:
            raise Closed
        *lines, self._received = self._received.split(b"\n")
        try:
            return [dict(json.loads(line)) for line in lines]
        except (ValueError, TypeError) as error:
            raise Closed from error

    def close(self) -> None:
        """Give it up."""
        self.socket.close()


def _read_line(connection: Any, received: bytes) -> Tuple[Any, bytes]:
    """One line of JSON from a blocking socket, and what came after it."""
    while b"\n" not in received:
        data = connection.recv(4096)
        if not data or len(received) > _LINE:
            raise OSError("no answer")
        received += data
    line, _, rest = received.partition(b"\n")
    return json.loads(line), rest


def _mac(token: str, *parts: object) -> str:
    import hmac

    return hmac.new(token.encode(), "\n".join(map(str, parts)).encode(), "sha256").hexdigest()


def _same(left: object, right: str) -> bool:
    import hmac

    return hmac.compare_digest(str(left).encode(), right.encode())


def free_port(address: str = "") -> int:
    """A port nobody listens on, outside the range that clients are given (32768-60999)."""
    for _ in range(200):
        listener = _bind(address, _random_port(), reuse=False)
        if listener is not None:
            port = int(listener.getsockname()[1])
            listener.close()
            return port
    raise AgentError("start", "no free port between 20000 and 32767")


def _random_port() -> int:
    return 20000 + int.from_bytes(os.urandom(4), "big") % 12768


def _bind(address: str, port: int, *, reuse: bool) -> Any:
    import socket

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if reuse:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return listener


class Gang(abc.ABC):
    """What a supervisor sees of its gang, whichever its part."""

    def __init__(self, spec: Json, token: str) -> None:
        gang = spec["gang"]
        self.job_id = str(spec["job_id"])
        self.rank = int(spec["rank"])
        self.size = int(spec["num_nodes"])
        self.token = token
        self.listening: Optional[int] = None  # the head's port
        self.turn = False  # the head's queue has come to this job
        self.port: Optional[int] = None  # for the launcher, chosen when all are ready
        self.verdict: Optional[Json] = None  # who ended the gang, and why
        self.own: Optional[Json] = None
        self.settled = False  # nothing more can change this node's record
        self.delivered = False  # nobody waits for a word of this node
        self.reconnect = float(gang.get("reconnect_seconds", 5))
        self.silence = float(gang.get("silence_seconds", 30))
        self.start = float(gang.get("start_seconds", 120))
        self.settle = float(gang.get("settle_seconds", 0.5))

    @property
    def patience(self) -> float:
        """How long the loop may wait before :meth:`service` is due."""
        return 0.25

    @abc.abstractmethod
    def descriptors(self) -> List[int]:
        """What to wait on."""

    @abc.abstractmethod
    def service(self, ready: Set[int], now: float) -> None:
        """Deal with what came, and with what did not come in time."""

    def announce_turn(self) -> None:  # noqa: B027 - only the head has something to announce
        """The head's queue has come to this job."""

    @abc.abstractmethod
    def ready(self) -> None:
        """This node's setup is done."""

    @abc.abstractmethod
    def stopping(self, state: str, cause: str) -> None:
        """This node is being ended, by request or limit: the gang ends with it, at once."""

    @abc.abstractmethod
    def ended(self, record: Json) -> None:
        """This node's tree has ended so."""


def make_gang(spec: Json, token: str) -> Optional[Gang]:
    """This node's part; ``None`` for a job on one node."""
    if int(spec.get("num_nodes", 1)) < 2:
        return None
    return Head(spec, token) if int(spec["rank"]) == 0 else Member(spec, token)


class Seat:
    """A member, as the head knows it."""

    def __init__(self) -> None:
        self.line: Optional[Line] = None
        self.joined = False
        self.heard = 0.0  # the last word
        self.gone: Optional[float] = None  # since when there is no connection
        self.ready = False
        self.record: Optional[Json] = None


class Head(Gang):
    """Rank 0: gives the turn, the start and the verdict."""

    def __init__(self, spec: Json, token: str) -> None:
        super().__init__(spec, token)
        address = str(spec["gang"]["address"])
        for _ in range(200):
            self._listener = _bind(address, _random_port(), reuse=True)
            if self._listener is not None:
                break
        else:
            raise AgentError("start", f"no free port at {address} between 20000 and 32767")
        self._listener.listen(64)
        self._listener.setblocking(False)
        self.listening = int(self._listener.getsockname()[1])
        self._strangers: Dict[Line, Tuple[str, float]] = {}
        self._seats = {rank: Seat() for rank in range(1, self.size)}
        self._failures: Dict[int, Tuple[float, Json]] = {}
        self._ready = False
        self._trial: Optional[float] = None
        self._join_by = time.monotonic() + self.start
        self._pinged = 0.0

    def descriptors(self) -> List[int]:
        """The listener, strangers and members."""
        lines = [*self._strangers, *(seat.line for seat in self._seats.values() if seat.line)]
        return [self._listener.fileno(), *(line.socket.fileno() for line in lines)]

    def service(self, ready: Set[int], now: float) -> None:
        """Hear members, ping them, and judge."""
        if self._listener.fileno() in ready:
            self._accept(now)
        self._greet(ready, now)
        for rank, seat in self._seats.items():
            if seat.line is not None and seat.line.socket.fileno() in ready:
                self._hear(rank, seat, now)
        if now - self._pinged >= 1:
            self._pinged = now
            self._tell({"ping": 1})
        self._open_the_gate()
        self._judge(now)
        self._close_the_books()

    def _accept(self, now: float) -> None:
        while len(self._strangers) < 64:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            line = Line(connection)
            nonce = os.urandom(16).hex()
            line.send({"nonce": nonce})
            self._strangers[line] = (nonce, now)

    def _greet(self, ready: Set[int], now: float) -> None:
        for line, (nonce, since) in list(self._strangers.items()):
            try:
                messages = line.receive() if line.socket.fileno() in ready else []
            except Closed:
                messages = [{}]
            if messages:
                del self._strangers[line]
                self._seat(line, nonce, messages[0], now)
                for message in messages[1:]:
                    self._note(int(messages[0]["hello"]), message)
            elif now - since > 5:
                del self._strangers[line]
                line.close()

    def _seat(self, line: Line, nonce: str, hello: Json, now: float) -> None:
        rank = hello.get("hello")
        wanted = _mac(self.token, "member", nonce, self.job_id, rank)
        if rank not in self._seats or not _same(hello.get("mac"), wanted):
            line.close()
            return
        seat = self._seats[rank]
        if seat.line is not None:
            seat.line.close()
        seat.line, seat.joined, seat.heard, seat.gone = line, True, now, None
        line.send({"mac": _mac(self.token, "head", hello.get("nonce"), self.job_id)})
        if self.turn:
            line.send({"turn": 1})
        if self.port is not None:
            line.send({"go": self.port})
        if self.verdict is not None:
            line.send({"verdict": self.verdict})

    def _hear(self, rank: int, seat: Seat, now: float) -> None:
        try:
            messages = seat.line.receive() if seat.line else []
        except Closed:
            if seat.line:
                seat.line.close()
            seat.line, seat.gone = None, now
            return
        if messages:
            seat.heard = now
        for message in messages:
            self._note(rank, message)

    def _note(self, rank: int, message: Json) -> None:
        seat = self._seats[rank]
        if "ready" in message:
            seat.ready = True
        if "stopping" in message:
            stopping = message["stopping"]
            self._pronounce(rank, str(stopping["state"]), str(stopping["cause"]))
        if "ended" in message:
            seat.record = message["ended"]
            if seat.line is not None:
                seat.line.send({"noted": 1})
            if seat.record["state"] != "succeeded":
                self._failures.setdefault(rank, (time.monotonic(), seat.record))

    def _tell(self, message: Json) -> None:
        for seat in self._seats.values():
            if seat.line is not None:
                seat.line.send(message)

    def _open_the_gate(self) -> None:
        if self.port is None and self._ready and all(seat.ready for seat in self._seats.values()):
            self.port = free_port()
            self._tell({"go": self.port})

    def announce_turn(self) -> None:
        """Members may begin their setup."""
        self.turn = True
        self._tell({"turn": 1})

    def ready(self) -> None:
        """This node waits at the gate."""
        self._ready = True
        self._open_the_gate()

    def stopping(self, state: str, cause: str) -> None:
        """The gang ends with this node."""
        self._pronounce(0, state, cause)

    def ended(self, record: Json) -> None:
        """This node's end, for the verdict."""
        self.own = record
        if record["state"] != "succeeded":
            self._failures.setdefault(0, (time.monotonic(), record))

    def _is_lost(self, seat: Seat, now: float) -> bool:
        if not seat.joined or seat.record is not None:
            return False
        if seat.line is None:
            return seat.gone is not None and now - seat.gone >= self.reconnect
        silent = now - seat.heard
        unanswered = self._trial is not None and seat.heard < self._trial <= now - self.reconnect
        return silent >= self.silence or unanswered

    def _judge(self, now: float) -> None:
        """Find the first real cause: a node that vanished goes before those that failed for want of it."""
        if self.verdict is not None:
            return
        absent = [rank for rank, seat in self._seats.items() if not seat.joined]
        if absent and now >= self._join_by:
            self._pronounce(absent[0], "failed", _join_cause(absent, self.start))
            return
        lost = [rank for rank, seat in self._seats.items() if self._is_lost(seat, now)]
        if not lost and not self._failures:
            return
        if self._trial is None:
            self._trial = now
            self._tell({"roll": 1})  # a machine without power is only found out by asking
        if now - self._trial < self.settle or self._is_unclear(now):
            return
        if lost:
            rank = min(lost, key=lambda rank: self._seats[rank].heard)
            self._pronounce(rank, "lost", f"node {rank} was lost")
        else:
            rank, (_, record) = min(self._failures.items(), key=lambda item: item[1][0])
            self._pronounce(rank, record["state"], record["cause"])

    def _is_unclear(self, now: float) -> bool:
        trial = self._trial or 0.0
        return any(
            seat.joined
            and seat.record is None
            and not self._is_lost(seat, now)
            and (seat.line is None or seat.heard < trial)
            for seat in self._seats.values()
        )

    def _pronounce(self, rank: int, state: str, cause: str) -> None:
        if self.verdict is None:
            named = (
                cause if state == "cancelled" or cause.startswith("node") else f"node {rank} failed: {cause}"
            )
            self.verdict = {"rank": rank, "state": state, "cause": named}
            self._tell({"verdict": self.verdict})

    def _close_the_books(self) -> None:
        heard_of = all(seat.record is not None for seat in self._seats.values())
        self.settled = heard_of and not self._failures
        # members hang up first: an end from here could overtake the last words to them
        self.delivered = all(seat.line is None for seat in self._seats.values())


def _join_cause(absent: List[int], seconds: float) -> str:
    names = ", ".join(map(str, absent))
    return f"node{'s' if len(absent) > 1 else ''} {names} did not join within {seconds:.0f} s"


class Member(Gang):
    """Ranks 1 and up: reports to the head and does what it says."""

    def __init__(self, spec: Json, token: str) -> None:
        super().__init__(spec, token)
        self._address = (str(spec["gang"]["address"]), int(spec["gang"]["port"]))
        self._line: Optional[Line] = None
        self._joined = False
        self._said: List[Json] = []
        now = time.monotonic()
        self._give_up = now + self.start
        self._try_at = now
        self._heard = now
        self._pinged = now

    def descriptors(self) -> List[int]:
        """The listener, strangers and members."""
        return [self._line.socket.fileno()] if self._line else []

    def service(self, ready: Set[int], now: float) -> None:
        """Hear members, ping them, and judge."""
        if self._line is None:
            self._reach(now)
        elif self._line.socket.fileno() in ready:
            self._hear(now)
        elif now - self._heard >= self.silence:
            self._drop(now)
        if self._line is not None and now - self._pinged >= 1:
            self._pinged = now
            self._line.send({"ping": 1})

    def _reach(self, now: float) -> None:
        if self.verdict is not None or self.settled:
            self.delivered = True
            self._try_at = now + 1
        elif now >= self._give_up:
            where = "{}:{}".format(*self._address)
            cause = "node 0 was lost" if self._joined else f"node 0 could not be reached at {where}"
            self.verdict = {"rank": 0, "state": "lost", "cause": cause}
        elif now >= self._try_at:
            self._try_at = now + 0.2
            self._connect()

    def _connect(self) -> None:
        import socket

        try:
            connection = socket.create_connection(self._address, timeout=2)
        except OSError:
            return
        line = self._shake_hands(connection)
        if line is None:
            connection.close()
            return
        self._line, self._joined, self._heard = line, True, time.monotonic()
        for message in self._said:
            line.send(message)
        self._hear(time.monotonic())  # what the head said in the same breath is in no poll

    def _shake_hands(self, connection: Any) -> Optional[Line]:
        try:
            asked, early = _read_line(connection, b"")
            mine = os.urandom(16).hex()
            mac = _mac(self.token, "member", asked["nonce"], self.job_id, self.rank)
            hello = {"hello": self.rank, "mac": mac, "nonce": mine}
            connection.sendall(json.dumps(hello).encode() + b"\n")
            answer, early = _read_line(connection, early)
            welcome = answer["mac"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not _same(welcome, _mac(self.token, "head", mine, self.job_id)):
            return None
        return Line(connection, early)

    def _hear(self, now: float) -> None:
        try:
            messages = self._line.receive() if self._line else []
        except Closed:
            self._drop(now)
            return
        if messages:
            self._heard = now
        for message in messages:
            if "roll" in message and self._line:
                self._line.send({"ping": 1})
            self.turn = self.turn or "turn" in message
            self.port = message.get("go", self.port)
            self.verdict = self.verdict or message.get("verdict")
            if "noted" in message:
                self.settled = self.settled or (self.own or {}).get("state") == "succeeded"
                self.delivered = True

    def _drop(self, now: float) -> None:
        if self._line:
            self._line.close()
        self._line = None
        self._give_up = now + self.reconnect
        self._try_at = now

    def _say(self, message: Json) -> None:
        self._said.append(message)
        if self._line:
            self._line.send(message)

    def ready(self) -> None:
        """This node waits at the gate."""
        self._say({"ready": 1})

    def stopping(self, state: str, cause: str) -> None:
        """The gang ends with this node."""
        self._say({"stopping": {"state": state, "cause": cause}})

    def ended(self, record: Json) -> None:
        """This node's end, for the verdict."""
        self.own = record
        self._say({"ended": record})


# --- logs -------------------------------------------------------------------------------------------------


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


# --- cancel -----------------------------------------------------------------------------------------------


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


# --- the watcher ------------------------------------------------------------------------------------------


class Watcher:
    """One per node: the heartbeat, idleness by use, the preemption notice and the deadline."""

    def __init__(self, root: str, home: str, lock: int) -> None:
        self._root = root
        self._home = home
        self._lock = lock
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
        return bool(self._config.get("agent", _SELF) != _SELF)

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
                if http(call).strip().upper() != b"TRUE":
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
            http(call)
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
        session = self._session()
        if session:
            return session
        gpu = gpu_utilisation()
        return f"GPU at {gpu} %" if gpu > 5 else ""

    def _ours(self) -> Iterator[Tuple[Process, Dict[bytes, bytes]]]:
        """Processes of this machine's user: the same HOME, the watcher itself left out."""
        home = os.fsencode(self._home)
        for process in processes().values():
            if process.pid != os.getpid():
                environment = environment_of(process.pid)
                if environment.get(b"HOME") == home:
                    yield process, environment

    def _session(self) -> str:
        """Somebody is logged in, or copies files: an outermost process of an SSH connection, still attached.

        What was left behind by one (tmux, nohup) has no standing input; a job's processes carry a marker.
        """
        for process, environment in self._ours():
            if b"SSH_CONNECTION" not in environment or _MARKER.encode() in environment:
                continue
            if b"SSH_CONNECTION" in environment_of(process.parent):
                continue
            if _is_attached(process.pid) and not _is_our_command(process.pid):
                return "an SSH session"
        return ""

    def _cpu_share(self, now: float) -> float:
        ticks = sum(process.cpu for process, _ in self._ours())
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


def _is_attached(pid: int) -> bool:
    try:
        target = os.readlink(f"/proc/{pid}/fd/0")
    except OSError:
        return False
    return target.startswith(("pipe:", "socket:", "/dev/pts/", "/dev/tty"))


def _is_our_command(pid: int) -> bool:
    """A look at the machine by this agent is no use of it."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"import agent" in file.read()
    except OSError:
        return False


def gpu_utilisation() -> int:
    """Per cent of the busiest GPU; 0 where there is none."""
    import subprocess

    argv = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return max((int(word) for word in done.stdout.split() if word.isdigit()), default=0)


def http(call: Json) -> bytes:
    """Make the call; raises ``OSError`` unless it is answered 2xx."""
    import http.client
    from urllib.parse import urlsplit

    service = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    url = urlsplit(str(call["url"]).replace("$GCE_METADATA_HOST", service))
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=10)
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request(str(call.get("method", "GET")), target, headers=dict(call.get("headers") or {}))
        answer = connection.getresponse()
        body = answer.read(_LINE)
    except http.client.HTTPException as error:
        raise OSError(f"no answer of HTTP: {error!r}") from error
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise OSError(f"HTTP {answer.status} from {url.netloc}{url.path}")
    return body


def watch(root: str, home: str, config: Json) -> Json:
    """Start the watcher, or hand the one that runs its new configuration. Returns its status."""
    os.makedirs(root, 0o700, exist_ok=True)
    write_json(os.path.join(root, "watcher.config.json"), dict(config, agent=_SELF))
    give_up = time.monotonic() + 10
    while not _has_watcher(root):
        if time.monotonic() > give_up:
            raise AgentError("watcher", "the watcher did not start")
        _start_watcher(root, home)
    return watcher_status(root)


def _has_watcher(root: str) -> bool:
    """A watcher of this very agent runs."""
    status = watcher_status(root)
    return bool(status["alive"]) and status.get("agent") == _SELF


def _start_watcher(root: str, home: str) -> None:
    waited = 0.0
    while watcher_status(root)["alive"] and waited < 5:
        time.sleep(0.05)  # the older one steps down by itself
        waited += 0.05
    if not _start_unit(home):
        _start_detached(root, home)
    for _ in range(60):
        if _has_watcher(root):
            return
        time.sleep(0.05)


def _start_unit(home: str) -> bool:
    """As a system unit, where systemd runs the machine: it outlives every login."""
    import subprocess

    try:
        with open("/proc/1/comm", encoding="ascii") as file:
            if file.read().strip() != "systemd":
                return False
    except OSError:
        return False
    names = [name for name in ("PATH", "GCE_METADATA_HOST") if name in os.environ]
    settings = [f"--setenv={name}={os.environ[name]}" for name in names]
    argv = ["sudo", "-n", "systemd-run", "--collect", f"--uid={os.getuid()}", f"--setenv=HOME={home}"]
    argv += [*settings, sys.executable, "-I", "-S", _SELF, "watcher-loop"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _start_detached(root: str, home: str) -> None:
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    _detach(os.path.join(root, "watcher.log"), keep=set())
    for name in [name for name in os.environ if name.startswith("SSH_")]:
        del os.environ[name]
    watcher_loop(root, home)
    sys.exit(0)


def watcher_loop(root: str, home: str) -> None:
    """The watcher's process: at most one lives per node."""
    lock = os.open(os.path.join(root, "watcher.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return
    os.ftruncate(lock, 0)
    os.write(lock, _SELF.encode())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Watcher(root, home, lock).live()
    os.close(lock)


def watcher_status(root: str) -> Json:
    """What the watcher last wrote, and whether it lives."""
    status = read_json(os.path.join(root, "watcher.json")) or {}
    status["alive"] = False
    try:
        lock = os.open(os.path.join(root, "watcher.lock"), os.O_RDONLY)
    except FileNotFoundError:
        return status
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        status["alive"] = True
        status["agent"] = os.pread(lock, 4096, 0).decode(errors="replace")
    finally:
        os.close(lock)
    return status


# --- the command line -------------------------------------------------------------------------------------


def main(argv: List[str], root: str, home: str) -> int:
    """Run one command; JSON on stdin, the answer on stdout."""
    command = argv[1] if len(argv) > 1 else ""
    streams = command in ("run", "logs")
    try:
        if command == "watcher-loop":
            watcher_loop(root, home)
            return 0
        data = sys.stdin.buffer.read()
        request = json.loads(data) if data.strip() else {}
        if streams:
            _stream(command, root, home, request)
        else:
            answer = _answer(command, root, home, request)
            sys.stdout.write(json.dumps(dict(answer, ok=True)) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody listens: say nothing at exit either
        return 1
    except (AgentError, OSError, KeyError, ValueError) as error:
        _complain(error, frames=streams)
        return 3
    return 0


def _stream(command: str, root: str, home: str, request: Json) -> None:
    frames = Frames(1)
    if command == "run":
        started = start(root, home, request)
        folder = JobFolder(root, str(started["job_id"]))
    else:
        folder = JobFolder(root, str(request["job_id"]))
        started = _started(folder, already=True)
    follow(folder, frames, int(request.get("offset", 0)), started, wait=bool(request.get("follow", True)))


def _answer(command: str, root: str, home: str, request: Json) -> Json:
    if command == "start":
        return start(root, home, request)
    if command == "status":
        return {"jobs": list_status(root, request.get("job_ids"))}
    if command == "cancel":
        return {"job": cancel(root, request)}
    if command == "watch":
        return {"watcher": watch(root, home, request)}
    if command == "watcher":
        return {"watcher": watcher_status(root)}
    if command == "version":
        return {"version": VERSION, "python": list(sys.version_info[:3])}
    raise AgentError("bad_request", f"the agent has no command {command!r}")


def _complain(error: Exception, *, frames: bool) -> None:
    if isinstance(error, AgentError):
        answer = {"code": error.code, "brief": str(error), "resolution": error.resolution}
    elif isinstance(error, OSError):
        answer = {"code": "os", "brief": f"the agent could not work: {error}", "resolution": ""}
    else:
        answer = {
            "code": "bad_request",
            "brief": f"the agent did not understand: {error!r}",
            "resolution": "",
        }
    with contextlib.suppress(OSError):
        if frames:
            Frames(1).send_json(b"X", answer)
        else:
            write_all(1, json.dumps(dict(answer, ok=False)).encode() + b"\n")


def run() -> None:
    """Run the command line in the folder the agent was pushed to: ``<root>/agent/<hash>/agent.py``."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(_SELF)))
    sys.exit(main(sys.argv, root, os.environ.get("HOME") or os.path.dirname(root)))


if __name__ == "__main__":
    run()
