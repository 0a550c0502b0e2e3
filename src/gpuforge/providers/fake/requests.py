"""From an instance request to the exact bytes of a create on the simulated cloud. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpuforge.errors import InvalidRequestError
from gpuforge.models.ids import request_token
from gpuforge.models.instance import PreparedCreate
from gpuforge.simcloud.body import REQUIRED_LABELS, CreateBody

if TYPE_CHECKING:
    from gpuforge.models.instance import InstanceRequest

__all__ = ["prepare"]

_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-[a-z0-9-]+) [A-Za-z0-9+/=]+( [^\n\r]*)?")


def prepare(request: InstanceRequest, *, provider: str) -> PreparedCreate:
    """Names, token and body; the same request gives the same words.

    Raises:
        InvalidRequestError: The request lacks what keeps an instance from being lost.
    """
    _check(request)
    offering = request.offering
    body = CreateBody(
        names=request.names,
        zone=offering.zone,
        instance_type=offering.instance_type,
        capacity_type=offering.capacity_type.value,
        image=request.image.id,
        disk_gib=request.disk_gib,
        deadline=request.deadline,
        labels=request.labels,
        user=request.user,
        ssh_keys=(f"{request.user}:{request.ssh_public_key.strip()}",),
        metadata={"enable-guest-attributes": "TRUE"},
    ).to_bytes()
    return PreparedCreate(
        provider=provider,
        region=offering.region,
        zone=offering.zone,
        names=request.names,
        token=request_token(request.names[0], body),
        body=body,
        deadline=request.deadline,
    )


def _check(request: InstanceRequest) -> None:
    missing = [label for label in REQUIRED_LABELS if not request.labels.get(label)]
    wrong = [
        message
        for is_wrong, message in (
            (not request.names, "it names no instance"),
            (request.deadline.tzinfo is None, "its deadline has no time zone"),
            (bool(missing), f"it lacks the labels {', '.join(missing)}"),
            (not _KEY.fullmatch(request.ssh_public_key.strip()), "its SSH key is no public key"),
            (not request.user or ":" in request.user, f"its user {request.user!r} is none"),
        )
        if is_wrong
    ]
    if wrong:
        raise InvalidRequestError(
            "the create request is incomplete",
            details="\n".join(wrong),
            resolution="this is a defect of the caller: nothing was sent",
        )
