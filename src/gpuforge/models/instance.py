"""Instances as a provider sees them: requests, references, states, and the way in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gpuforge.models.image import Image
    from gpuforge.models.offering import Offering

__all__ = [
    "LEGAL_TRANSITIONS",
    "Accepted",
    "BootReport",
    "Check",
    "CheckStatus",
    "Disk",
    "HostKey",
    "HttpCall",
    "Instance",
    "InstanceRef",
    "InstanceRequest",
    "InstanceState",
    "Listing",
    "PreparedCreate",
    "Route",
    "Selector",
]


class InstanceState(StrEnum):
    """A closed set; every provider maps its own words here, at its border."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    GONE = "gone"


LEGAL_TRANSITIONS: Mapping[InstanceState, frozenset[InstanceState]] = {
    InstanceState.PENDING: frozenset(
        {InstanceState.RUNNING, InstanceState.STOPPING, InstanceState.DELETING, InstanceState.GONE}
    ),
    InstanceState.RUNNING: frozenset(
        {InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.DELETING, InstanceState.GONE}
    ),
    InstanceState.STOPPING: frozenset({InstanceState.STOPPED, InstanceState.DELETING, InstanceState.GONE}),
    InstanceState.STOPPED: frozenset({InstanceState.PENDING, InstanceState.DELETING, InstanceState.GONE}),
    InstanceState.DELETING: frozenset({InstanceState.GONE}),
    InstanceState.GONE: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRequest:
    """A gang of equal instances to create.

    Attributes:
        names: One per node, in rank order; the gang is created whole or not at all.
        deadline: Absolute; the cloud itself ends the instances then.
        labels: ``gf-owner, gf-journal, gf-cluster, gf-intent, gf-epoch, gf-deadline`` and the user's.
        ssh_public_key: OpenSSH one-line form.
        user: Login name.
    """

    names: tuple[str, ...]
    offering: Offering
    image: Image
    disk_gib: int
    deadline: datetime
    labels: Mapping[str, str]
    ssh_public_key: str
    user: str = "ubuntu"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCreate:
    """The exact words of a create before they leave; the journal holds them.

    Attributes:
        token: Idempotency token, a pure function of name and body.
        body: Canonical bytes of the request.
    """

    provider: str
    region: str
    zone: str
    names: tuple[str, ...]
    token: str
    body: bytes
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRef:
    """Points at one instance; ``instance_id`` is the cloud's own id of this incarnation once known."""

    provider: str
    region: str
    zone: str
    name: str
    instance_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The cloud took the create: references (ids where it gave them) and its operation's name."""

    refs: tuple[InstanceRef, ...]
    operation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance as the cloud shows it now.

    Attributes:
        addresses: Private first.
        deadline: When the cloud will end it; ``None`` means nothing will.
        reason: Why it is not running, in the cloud's words; empty while all is well.
    """

    ref: InstanceRef
    state: InstanceState
    instance_type: str
    capacity_type: str
    created: datetime
    deadline: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk that stands alone: left over, and billing."""

    provider: str
    zone: str
    name: str
    disk_id: str
    size_gib: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Whom to list: exactly these references, or all that carry this owner label."""

    refs: tuple[InstanceRef, ...] = ()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a list saw.

    Attributes:
        server_time: The cloud's own clock at the answer.
        complete: False when a part of the cloud did not answer; ``warnings`` says which.
    """

    instances: tuple[Instance, ...]
    disks: tuple[Disk, ...]
    server_time: datetime
    complete: bool = True
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to reach a node's SSH server: an address, or a command whose pipes are the connection."""

    host: str
    port: int
    user: str
    proxy_command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """A public host key: ``ssh-ed25519`` and its base64 blob, checked at the border."""

    kind: str
    blob: str

    def __str__(self) -> str:
        return f"{self.kind} {self.blob}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """One HTTP request the node's watcher can make by itself, as data."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootReport:
    """What the cloud knows about a booting node.

    Attributes:
        host_keys: ``None`` until the node has published them.
        route: ``None`` until it has an address.
        console_tail: The last lines of the serial console.
        notice: Polled by the watcher: answers ``TRUE`` once a preemption is announced.
        self_delete: How the node deletes itself, or ``None`` when its identity may not.
        capped_gpus: Ranks per node to start; the offering's count unless the host has fewer cores.
    """

    instance: Instance
    host_keys: tuple[HostKey, ...] | None
    route: Route | None
    console_tail: str
    notice: HttpCall | None = None
    self_delete: HttpCall | None = None
    capped_gpus: int | None = None


class CheckStatus(StrEnum):
    """Verdict of one preflight check."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of ``gpuforge doctor``: a verdict, what was seen, and the command that fixes it."""

    name: str
    status: CheckStatus
    message: str
    fix: str = ""
