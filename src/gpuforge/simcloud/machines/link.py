"""What a machine's supervisor and the simulated cloud say to each other.

The cloud starts a supervisor with ``machine.json`` (a :class:`MachineSpec`) and from then on they meet only
here: the supervisor re-reads what is wanted of it and reports what happened to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

__all__ = ["Desired", "MachineLink", "MachineSpec", "Wanted"]


class Wanted(StrEnum):
    """What the cloud wants of a machine."""

    RUN = "run"
    REBOOT = "reboot"  # once; the supervisor answers with ``rebooted``
    STOP = "stop"  # soft: TERM, then KILL after the notice
    GONE = "gone"  # its row is deleted or missing: power off now and remove nothing of the record


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """A machine's shape, fixed at its boot; times are aware UTC, written as RFC 3339 in the file.

    Attributes:
        folder: ``<cloud>/machines/<id>``: home, console log and everything else of the machine.
        addresses: Candidate listen addresses, best first; the supervisor binds the first that works.
        ports: Candidate ports, best first.
        accelerator: Model and count, such as ``("L4", 24, 1)`` (name, GiB each, count), or ``None``.
        image: Image id, such as ``pytorch-2-9-cu129``.
        ssh_server: ``asyncssh`` or ``openssh``.
        metadata: Instance metadata the metadata service answers with (attributes).
        startup_seconds: Simulated boot time before anything listens.
    """

    instance_id: str
    name: str
    zone: str
    project: str
    folder: Path
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    user: str
    ssh_public_keys: tuple[str, ...]
    vcpus: int
    memory_gib: float
    accelerator: tuple[str, int, int] | None
    image: str
    driver: str
    cuda: str
    ssh_server: str
    instance_type: str
    spot: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    startup_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What is wanted now.

    Attributes:
        deadline: The supervisor powers off by itself at this moment, whatever else.
        preempt_at: When the soft-off of a preemption begins; the notice shows from ``notice_at`` on.
    """

    wanted: Wanted
    deadline: datetime | None
    notice_at: datetime | None = None
    preempt_at: datetime | None = None
    reboot_count: int = 0


class MachineLink(Protocol):
    """The cloud's side, implemented over its SQLite file; safe from many processes."""

    def desired(self, instance_id: str) -> Desired:
        """What is wanted now; ``GONE`` when the row is missing. Cheap: called several times a second."""
        ...

    def booted(self, instance_id: str, *, pid: int, host: str, port: int) -> None:
        """The SSH server listens; the address is recorded."""
        ...

    def publish(self, instance_id: str, key: str, value: str) -> None:
        """A guest attribute, such as ``hostkeys/ssh-ed25519``."""
        ...

    def rebooted(self, instance_id: str, reboot_count: int) -> None:
        """The reboot that was wanted is done."""
        ...

    def powered_off(self, instance_id: str, reason: str) -> None:
        """The machine is off, nothing of it lives: ``deadline``, ``preempted``, ``guest``, ``deleted``."""
        ...

    def self_delete(self, instance_id: str) -> None:
        """The guest asked for its own deletion (idle)."""
        ...
