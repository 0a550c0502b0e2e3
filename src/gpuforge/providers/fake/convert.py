"""Between the simulated cloud's words and gpuforge's: states, errors, rows, host keys. Pure.

The one table of errors of this provider is :data:`KINDS`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpuforge.errors import (
    CapacityError,
    ConflictError,
    CredentialsError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    QuotaError,
    RateLimitError,
)
from gpuforge.models.instance import Disk, HostKey, Instance, InstanceRef, InstanceState
from gpuforge.simcloud.instances import Ending, Key, Status
from gpuforge.simcloud.refusals import Code, SimError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpuforge.simcloud import instances

__all__ = ["KINDS", "error_of", "errors_mapped", "host_keys", "instance", "key", "left_over", "lost", "state"]

NAME = "fake"

KINDS: Mapping[Code, type[ProviderError]] = {
    Code.CAPACITY: CapacityError,
    Code.QUOTA: QuotaError,
    Code.RATE_LIMIT: RateLimitError,
    Code.UNAVAILABLE: ProviderUnavailableError,
    Code.CREDENTIALS: CredentialsError,
    Code.PERMISSION: PermissionDeniedError,
    Code.INVALID: InvalidRequestError,
    Code.NOT_FOUND: NotFoundError,
    Code.CONFLICT: ConflictError,
    Code.INTERNAL: ProviderError,
}

_STATES = {
    Status.PROVISIONING: InstanceState.PENDING,
    Status.RUNNING: InstanceState.RUNNING,
    Status.STOPPING: InstanceState.STOPPING,
    Status.TERMINATED: InstanceState.STOPPED,
    Status.DELETED: InstanceState.GONE,
}
_RESOLUTIONS = {
    Code.CAPACITY: "try another zone or GPU, or: gpuforge fake stockout --clear",
    Code.RATE_LIMIT: "wait a moment and repeat",
    Code.UNAVAILABLE: "repeat the same command",
}

_KIND = "ssh-ed25519"
_PREFIX = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
_BLOB_BYTES = 51


def error_of(code: Code, message: str, hint: str = "") -> ProviderError:
    """The kind that tells the caller what to do next."""
    return KINDS[code](message, details=hint, resolution=_RESOLUTIONS.get(code, ""))


@contextlib.contextmanager
def errors_mapped() -> Iterator[None]:
    """The border: what the simulated cloud raises leaves as a kind of :mod:`gpuforge.errors`."""
    try:
        yield
    except SimError as error:
        raise error_of(error.code, error.message, error.hint) from error


def state(row: instances.InstanceRow) -> InstanceState:
    """The state in gpuforge's closed set."""
    if row.status is Status.STOPPING and row.ending is not Ending.PREEMPTED:
        return InstanceState.DELETING
    return _STATES[row.status]


def instance(row: instances.InstanceRow) -> Instance:
    """One instance as everyone else sees it."""
    is_placed = row.status in {Status.RUNNING, Status.STOPPING}
    return Instance(
        ref=InstanceRef(provider=NAME, region=row.region, zone=row.zone, name=row.name, instance_id=row.id),
        state=state(row),
        instance_type=row.instance_type,
        capacity_type=row.capacity_type,
        created=_moment(row.created),
        deadline=_moment(row.deadline),
        labels=dict(row.labels),
        addresses=(row.host,) if is_placed else (),
        reason=row.reason,
    )


def lost(ref: InstanceRef, now: datetime) -> Instance:
    """What stands for an instance that the cloud does not know: gone."""
    return Instance(
        ref=ref,
        state=InstanceState.GONE,
        instance_type="",
        capacity_type="",
        created=now,
        deadline=None,
        reason="the cloud does not know it",
    )


def left_over(disk: instances.Disk) -> Disk:
    """A disk that stands alone."""
    return Disk(
        provider=NAME,
        zone=disk.zone,
        name=disk.name,
        disk_id=disk.id,
        size_gib=disk.size_gib,
        labels=dict(disk.labels),
    )


def key(ref: InstanceRef) -> Key:
    """How the simulated cloud is pointed at an instance."""
    return Key(zone=ref.zone, name=ref.name, id=ref.instance_id)


def host_keys(attributes: Mapping[str, str]) -> tuple[HostKey, ...] | None:
    """The host keys a guest published, or ``None`` while it has not.

    Exactly ``ssh-ed25519``, strict base64, 51 bytes whose inner type agrees; cut at white space, since
    the guest can write anything here.

    Raises:
        ProviderError: It published something else under that name.
    """
    text = attributes.get(f"hostkeys/{_KIND}")
    if text is None:
        return None
    words = text.split()
    blob = next((word for word in words if word != _KIND), "")
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != _BLOB_BYTES or not data.startswith(_PREFIX):
        raise ProviderError(
            "the instance published a host key that is none",
            details=f"hostkeys/{_KIND} holds {text[:80]!r}",
            resolution="delete the instance and create another; nothing was sent to it",
        )
    return (HostKey(kind=_KIND, blob=base64.b64encode(data).decode()),)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
