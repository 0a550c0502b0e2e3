"""Jobs: one execution of a task on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gpuforge.redact import Secret

__all__ = ["Command", "ExitRecord", "JobSpec", "JobState", "JobStatus", "Runnable"]


class JobState(StrEnum):
    """Where a job stands on a node."""

    QUEUED = "queued"  # FIFO, waiting for the GPUs
    WAITING = "waiting"  # setup done, waiting for the rest of the gang
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # exit code 0
    FAILED = "failed"  # another exit code
    CANCELLED = "cancelled"
    LOST = "lost"  # its supervisor is gone without an exit record: reboot, kill -9, preemption

    @property
    def is_final(self) -> bool:
        """Nothing more will happen."""
        return self in _FINAL


_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})


class Runnable(Protocol):
    """What can become a job: a task, or a bare command."""

    @property
    def name(self) -> str | None:
        """Shown in listings; the cluster's where there is none."""
        ...

    @property
    def setup(self) -> str:
        """Bash text that prepares a node."""
        ...

    @property
    def run(self) -> str:
        """Bash text."""
        ...

    @property
    def envs(self) -> Mapping[str, str]:
        """Visible variables."""
        ...

    @property
    def secrets(self) -> Mapping[str, Secret]:
        """Variables that never show."""
        ...

    @property
    def launcher(self) -> str:
        """``plain`` or ``torchrun``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A bare command for a live cluster: nothing is copied, prepared or brought back."""

    run: str
    name: str | None = None
    setup: str = ""
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    launcher: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What runs; the same on every node of the gang.

    Attributes:
        job_id: Made by the client, time-ordered; starting it twice starts it once.
        name: The task's name.
        setup: Bash text, run on every node before ``run``; empty skips it.
        run: Bash text.
        envs: Visible in listings.
        secrets: Reach the job's environment over stdin; never argv, never a log.
        launcher: ``plain`` or ``torchrun``.
        workdir: Folder under the machine's home in which both scripts start.
        timeout_seconds: Ends the job (exit 75 by its record); ``None`` leaves the deadline alone.
        grace_seconds: From SIGTERM to SIGKILL on cancel and preemption.
    """

    job_id: str
    name: str
    setup: str
    run: str
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    launcher: str = "plain"
    workdir: str = "workdir"
    timeout_seconds: int | None = None
    grace_seconds: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """How a job ended on one node; written exactly once.

    Attributes:
        exit_code: Of the phase that ended it; ``None`` when it never had one (lost).
        signal: Number of the signal that ended it, or ``None``.
        phase: ``setup``, ``run`` or ``start``.
        cause: One line for a person: ``killed by SIGKILL (out of memory?)``, ``node 1 was lost``.
        is_consequence: True when this node only ended because another one did.
    """

    rank: int
    state: JobState
    exit_code: int | None
    signal: int | None
    phase: str
    cause: str
    ended: datetime
    is_consequence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job over all its nodes.

    Attributes:
        alias: Small number shown to people; ``job_id`` stays the identity.
        exit_code: The job's own: that of the first real cause; ``None`` while it runs.
        cause: Why it failed, naming the node; empty on success.
    """

    job_id: str
    alias: int
    name: str
    state: JobState
    submitted: datetime
    started: datetime | None
    ended: datetime | None
    exit_code: int | None
    cause: str
    records: tuple[ExitRecord, ...] = ()
