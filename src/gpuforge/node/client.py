"""The client of the agent: pushes it once, speaks to it over a transport, and reads its frames.

One command is one round trip: the agent is called as if it were there, and pushed only when it is not.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gpuforge.errors import CommandError, ConnectError, JobError
from gpuforge.models.job import ExitRecord, JobSpec, JobState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpuforge.models.instance import HttpCall
    from gpuforge.redact import Secret
    from gpuforge.transport.base import RemoteProcess, Transport

__all__ = [
    "Follow",
    "GangSpec",
    "LogPiece",
    "NodeClient",
    "NodeJob",
    "NodeStatus",
    "Started",
    "StateChange",
    "WatcherConfig",
    "WatcherStatus",
]

_PACKAGE = "gpuforge_node"
_MISSING = 88
# the agent is imported, not run, so that Python keeps its compiled form: half of its start-up
_IMPORT = (
    "import sys\n"
    "folder = sys.argv.pop(1)\n"
    "sys.path.append(folder)\n"
    f"try:\n from {_PACKAGE} import {{}}\n"
    f"except ImportError:\n sys.exit({_MISSING})\n"
)
_CALL = _IMPORT.format("agent") + "agent.run(folder)"
_RECEIVE = _IMPORT.format("receiver") + "sys.exit(receiver.main())"
# files arrive whole or not at all: the folder is renamed into place
_PUSH = """\
import json, os, shutil, sys
folder = sys.argv[1]
files = json.load(sys.stdin)
temporary = "%s.%d.tmp" % (folder, os.getpid())
os.makedirs(temporary, 0o700)
for name, text in files.items():
    path = os.path.join(temporary, name)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
try:
    os.rename(temporary, folder)
except OSError:
    if not os.path.isdir(folder):
        raise
    shutil.rmtree(temporary)
"""
_READ = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GangSpec:
    """How the nodes of one job find each other, without any client.

    Attributes:
        address: Where the head listens, as the other nodes reach it.
        port: The head's port, once it listens; ``None`` in the head's own job.
        token: Shared by the gang; proves membership, never sent in the clear.
        start_seconds: How long the head waits for everybody to join.
        reconnect_seconds: How long a dropped connection may be away before the node counts as lost.
        silence_seconds: How long a node may say nothing over a standing connection.
    """

    address: str
    token: Secret
    port: int | None = None
    start_seconds: float = 120
    reconnect_seconds: float = 5
    silence_seconds: float = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJob:
    """One node's part of a job: the spec, the rank, and the environment its launcher built.

    Attributes:
        env: For both phases; ``setup_env`` and ``run_env`` are added in theirs.
        port_variables: Names that receive a free port of the head in ``run``.
        gang: ``None`` on one node.
    """

    spec: JobSpec
    rank: int = 0
    num_nodes: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    setup_env: Mapping[str, str] = field(default_factory=dict)
    run_env: Mapping[str, str] = field(default_factory=dict)
    port_variables: tuple[str, ...] = ()
    checkpoints: str = "job"
    gang: GangSpec | None = None

    def request(self) -> dict[str, Any]:
        """What the agent reads on stdin; the one place where the secrets are revealed."""
        spec = self.spec
        gang = self.gang
        return {
            "spec": {
                "job_id": spec.job_id,
                "name": spec.name,
                "setup": spec.setup,
                "run": spec.run,
                "envs": dict(spec.envs),
                "secrets": {name: secret.reveal() for name, secret in spec.secrets.items()},
                "workdir": spec.workdir,
                "timeout_seconds": spec.timeout_seconds,
                "grace_seconds": spec.grace_seconds,
                "rank": self.rank,
                "num_nodes": self.num_nodes,
                "env": dict(self.env),
                "setup_env": dict(self.setup_env),
                "run_env": dict(self.run_env),
                "port_variables": list(self.port_variables),
                "checkpoints": self.checkpoints,
                "token": gang.token.reveal() if gang else "",
                "gang": {
                    "address": gang.address,
                    "port": gang.port,
                    "start_seconds": gang.start_seconds,
                    "reconnect_seconds": gang.reconnect_seconds,
                    "silence_seconds": gang.silence_seconds,
                }
                if gang
                else None,
            }
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The agent's answer to a start.

    Attributes:
        alias: The job's small number on this node.
        already: It had been started before; nothing was started now.
        port: Where the head of a gang listens.
    """

    job_id: str
    alias: int
    already: bool
    port: int | None
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """Bytes of a job's log and where they begin."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A job's state on a node, as it changes; ``phase`` is ``queue``, ``setup``, ``wait`` or ``run``."""

    state: JobState
    phase: str
    started: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A job on one node."""

    job_id: str
    alias: int
    name: str
    rank: int
    state: JobState
    phase: str
    submitted: datetime
    started: datetime | None
    record: ExitRecord | None
    log_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherConfig:
    """What the node's watcher looks after.

    Attributes:
        deadline: The cloud ends the machine then; jobs are told before.
        autostop_minutes: Idle minutes until self-deletion; ``None`` never.
        self_delete: How the node deletes itself, or ``None`` when it may not.
        notice: What to poll for a preemption notice; answers ``TRUE``. ``$GCE_METADATA_HOST`` in a URL is
            filled in on the node.
        tick_seconds: Between two looks at notice and deadline.
    """

    deadline: datetime | None
    autostop_minutes: float | None
    self_delete: HttpCall | None = None
    notice: HttpCall | None = None
    heartbeat_seconds: float = 30
    tick_seconds: float = 1.0

    def request(self) -> dict[str, Any]:
        """What the agent reads on stdin."""
        return {
            "deadline": self.deadline.timestamp() if self.deadline else None,
            "autostop_minutes": self.autostop_minutes,
            "self_delete": _call(self.self_delete),
            "notice": _call(self.notice),
            "heartbeat_seconds": self.heartbeat_seconds,
            "tick_seconds": self.tick_seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherStatus:
    """What the watcher last wrote.

    Attributes:
        alive: It runs now.
        busy: What keeps the machine in use; empty while idle.
        next_stop: When the machine will end by what is known now.
        error: Why the last self-deletion failed.
    """

    alive: bool
    heartbeat: datetime | None
    idle_since: datetime | None
    busy: str
    next_stop: datetime | None
    notice: datetime | None
    error: str


class Follow:
    """One connection that follows a job on one node: iterate for its log, states and, last, its record.

    Iterating raises ``ConnectError`` when the connection ends before the record, ``JobError`` when the node
    does not know the job or could not start it. ``offset`` is where the next byte will come from.
    """

    def __init__(self, client: NodeClient, command: str, request: Mapping[str, Any]) -> None:
        self._client = client
        self._command = command
        self._request = request
        self._context = contextlib.ExitStack()
        self._process: RemoteProcess | None = None
        self._buffer = bytearray()
        self._started: Started | None = None
        self.offset = max(0, int(request.get("offset", 0)))
        self.record: ExitRecord | None = None

    def started(self) -> Started:
        """The job as the node knows it; waits for its answer."""
        while self._started is None:
            letter, payload = self._frame(pushed=False)
            if letter == b"J":
                answer = json.loads(payload)
                self._started = _started(answer)
                self.offset = self._started.offset
            else:
                raise _failure(json.loads(payload), self._client.rank)
        return self._started

    def __iter__(self) -> Iterator[LogPiece | StateChange | ExitRecord]:
        self.started()
        while self.record is None:
            letter, payload = self._frame(pushed=True)
            if letter == b"L":
                piece = LogPiece(offset=self.offset, data=payload)
                self.offset += len(payload)
                yield piece
            elif letter == b"S":
                yield _state_change(json.loads(payload))
            elif letter == b"E":
                self.record = exit_record(json.loads(payload))
                yield self.record
            elif letter == b"T":
                return
            else:
                raise _failure(json.loads(payload), self._client.rank)

    def close(self) -> None:
        """Give the connection up; the job goes on. Callable from another thread."""
        process, self._process = self._process, None
        if process is not None:
            process.close()
        self._context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> RemoteProcess:
        process = self._context.enter_context(self._client.transport.stream(self._client.argv(self._command)))
        with contextlib.suppress(ConnectError):  # an agent that is not there does not read; seen at the end
            process.write(json.dumps(self._request).encode())
            process.close_stdin()
        self._process = process
        return process

    def _frame(self, *, pushed: bool) -> tuple[bytes, bytes]:
        process = self._process or self._open()
        while not (header := self._take()):
            data = process.read(_READ)
            if data:
                self._buffer += data
                continue
            code = process.wait(10)
            if code == _MISSING and not pushed:
                self.close()
                self._client.push()
                return self._frame(pushed=True)
            raise _ended(code, process.stderr_tail(), self._client.rank)
        return header

    def _take(self) -> tuple[bytes, bytes] | None:
        if len(self._buffer) < 5:
            return None
        length = int.from_bytes(self._buffer[1:5], "big")
        if len(self._buffer) < 5 + length:
            return None
        letter, payload = bytes(self._buffer[:1]), bytes(self._buffer[5 : 5 + length])
        del self._buffer[: 5 + length]
        return letter, payload


class NodeClient:
    """The agent of one node, over a transport; usable from several threads."""

    def __init__(self, transport: Transport, *, rank: int = 0, home: str = ".gpuforge") -> None:
        self.transport = transport
        self.rank = rank
        self._files = agent_files()
        self.folder = f"{home}/agent/{agent_hash(self._files)}"
        self._present = False

    def argv(self, command: str) -> list[str]:
        """The remote command of one agent command."""
        return ["python3", "-I", "-S", "-c", _CALL, self.folder, command]

    def ensure(self) -> None:
        """Make sure that this version of the agent is on the node."""
        if not self._present:
            self._ask("version", {})

    def push(self) -> None:
        """Copy the agent's files; whole or not at all.

        Raises:
            CommandError: The node has no usable Python, or its disk is full.
        """
        payload = json.dumps(self._files).encode()
        done = self.transport.run(["python3", "-I", "-S", "-c", _PUSH, self.folder], stdin=payload)
        if done.exit_code:
            raise _ended(done.exit_code, done.stderr, self.rank)
        self._present = True

    def start_watcher(self, config: WatcherConfig) -> WatcherStatus:
        """Start the node's watcher, or give the one that runs this configuration. Idempotent."""
        return _watcher(self._ask("watch", config.request())["watcher"])

    def watcher(self) -> WatcherStatus:
        """What the watcher last said."""
        return _watcher(self._ask("watcher", {})["watcher"])

    def start_job(self, job: NodeJob) -> Started:
        """Start a job and return; a job id that was started before is left as it is.

        Raises:
            JobError: It could not be started; says why.
        """
        return _started(self._ask("start", job.request()))

    def run_job(self, job: NodeJob, *, offset: int = 0) -> Follow:
        """Start a job and follow it, in one round trip; as idempotent as :meth:`start_job`."""
        return Follow(self, "run", {**job.request(), "offset": offset})

    def follow(self, job_id: str, offset: int = 0, *, wait: bool = True) -> Follow:
        """Follow a job's log from ``offset`` (negative: that many bytes before its end).

        Args:
            job_id: The job.
            offset: Of the first byte wanted.
            wait: Until the job has ended; otherwise only what is there now.
        """
        return Follow(self, "logs", {"job_id": job_id, "offset": offset, "follow": wait})

    def status(self, job_ids: Sequence[str] | None = None) -> tuple[NodeStatus, ...]:
        """Every job of this node, or those named that it knows, oldest first."""
        answer = self._ask("status", {"job_ids": None if job_ids is None else list(job_ids)})
        return tuple(_node_status(row) for row in answer["jobs"])

    def cancel(self, job_id: str, grace_seconds: float | None = None) -> NodeStatus:
        """End a job: SIGTERM in order, SIGKILL after the grace; waits until nothing of it is left.

        Raises:
            JobError: The node does not know the job.
        """
        wait = 60 + (grace_seconds if grace_seconds is not None else 600)
        request = {"job_id": job_id, "grace": grace_seconds}
        return _node_status(self._ask("cancel", request, timeout_seconds=wait)["job"])

    @contextlib.contextmanager
    def receiver(self, argv: Sequence[str]) -> Iterator[RemoteProcess]:
        """Run ``node/remote/receiver.py`` with its streams open; pushed first where it is not there."""
        command = ["python3", "-I", "-S", "-c", _RECEIVE, self.folder, *argv]
        for is_last in (False, True):
            with self.transport.stream(command) as process:
                if process.read(1):  # its first byte says that it is there: no round trip of its own
                    yield process
                    return
                code = process.wait(10)
                if code != _MISSING or is_last:
                    raise _ended(code, process.stderr_tail(), self.rank)
            self.push()

    def _ask(
        self, command: str, request: Mapping[str, Any], *, timeout_seconds: float = 60
    ) -> dict[str, Any]:
        payload = json.dumps(request).encode()
        done = self.transport.run(self.argv(command), stdin=payload, timeout_seconds=timeout_seconds)
        if done.exit_code == _MISSING:
            self.push()
            done = self.transport.run(self.argv(command), stdin=payload, timeout_seconds=timeout_seconds)
        try:
            answer = json.loads(done.stdout)
        except ValueError as error:
            raise _ended(done.exit_code, done.stderr, self.rank) from error
        if not answer["ok"]:
            raise _failure(answer, self.rank)
        self._present = True
        return dict(answer)


@functools.cache
def agent_files() -> Mapping[str, str]:
    """The files that go to a node, by name: those of :mod:`gpuforge.node.remote`, as a package there."""
    # importlib.resources would say the same, and takes as long to load as all of this module
    files = Path(__file__).with_name("remote").glob("*.py")
    return {f"{_PACKAGE}/{file.name}": file.read_text(encoding="utf-8") for file in files}


def agent_hash(files: Mapping[str, str]) -> str:
    """One version for all files: 16 hex digits of BLAKE2b."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0{files[name]}".encode())
    return digest.hexdigest()


def exit_record(row: Mapping[str, Any]) -> ExitRecord:
    """An exit record from the agent's words."""
    return ExitRecord(
        rank=int(row["rank"]),
        state=JobState(row["state"]),
        exit_code=row["exit_code"],
        signal=row["signal"],
        phase=str(row["phase"]),
        cause=str(row["cause"]),
        ended=_time(row["ended"]) or datetime.now(UTC),
        is_consequence=bool(row["is_consequence"]),
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _call(call: HttpCall | None) -> dict[str, Any] | None:
    return None if call is None else {"method": call.method, "url": call.url, "headers": dict(call.headers)}


def _started(row: Mapping[str, Any]) -> Started:
    return Started(
        job_id=str(row["job_id"]),
        alias=int(row["alias"]),
        already=bool(row["already"]),
        port=row["port"],
        offset=int(row.get("offset", 0)),
    )


def _state_change(row: Mapping[str, Any]) -> StateChange:
    return StateChange(
        state=JobState(row["state"]), phase=str(row["phase"]), started=_time(row.get("started"))
    )


def _node_status(row: Mapping[str, Any]) -> NodeStatus:
    return NodeStatus(
        job_id=str(row["job_id"]),
        alias=int(row["alias"]),
        name=str(row["name"]),
        rank=int(row["rank"]),
        state=JobState(row["state"]),
        phase=str(row["phase"]),
        submitted=datetime.fromtimestamp(row["submitted"], UTC),
        started=_time(row["started"]),
        record=exit_record(row["record"]) if row["record"] else None,
        log_size=int(row["log_size"]),
    )


def _watcher(row: Mapping[str, Any]) -> WatcherStatus:
    return WatcherStatus(
        alive=bool(row["alive"]),
        heartbeat=_time(row.get("heartbeat")),
        idle_since=_time(row.get("idle_since")),
        busy=str(row.get("busy", "")),
        next_stop=_time(row.get("next_stop")),
        notice=_time(row.get("notice")),
        error=str(row.get("error", "")),
    )


def _failure(answer: Mapping[str, Any], rank: int) -> JobError:
    return JobError(
        f"node {rank}: {answer['brief']}",
        resolution=str(answer.get("resolution", "")) or "gpuforge jobs  lists what there is",
    )


def _ended(code: int, stderr: bytes, rank: int) -> CommandError | ConnectError:
    text = stderr.decode(errors="replace").strip()
    if code == 127:
        return CommandError(
            f"node {rank} has no python3",
            status=code,
            details=text,
            resolution="use an image with Python 3.8 or newer, or install it",
        )
    if not text:
        return ConnectError(f"the connection to node {rank} ended early", details=f"exit status {code}")
    return CommandError(
        f"the agent on node {rank} failed", status=code, details=text.splitlines()[-1], resolution=""
    )
