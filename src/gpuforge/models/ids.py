"""Names, tokens and ids: pure functions, so that a second try says the same words."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["instance_name", "job_id", "rank_of", "request_token", "slug"]

_NAMESPACE = uuid.UUID("8f3a4e0c-5f4b-5d0e-9d7b-6f6f72676521")
_NAME = re.compile(r"^gf-[a-z2-7]{10}-(\d+)-(\d+)$")
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def instance_name(journal_id: str, cluster_uuid: str, *, rank: int, attempt: int) -> str:
    """``gf-<10 base32 of sha256(journal id, cluster uuid)>-<rank>-<attempt>`` (protocol G1)."""
    digest = hashlib.sha256(f"{journal_id}\n{cluster_uuid}".encode()).digest()
    return f"gf-{base64.b32encode(digest).decode().lower()[:10]}-{rank}-{attempt}"


def rank_of(name: str) -> int:
    """The node rank that an instance's name carries.

    Raises:
        ValueError: The name is not one of ours.
    """
    match = _NAME.match(name)
    if match is None:
        raise ValueError(f"{name!r} is not a gpuforge instance name")
    return int(match.group(1))


def request_token(name: str, body: bytes) -> str:
    """The idempotency token of one create: a UUID of the name and the exact body (protocol G1)."""
    return str(uuid.uuid5(_NAMESPACE, f"{name}|{hashlib.sha256(body).hexdigest()}"))


def job_id(now: datetime, entropy: bytes) -> str:
    """A job id that sorts by time: 48 bits of milliseconds, then 50 random bits, as 20 letters.

    Args:
        now: Aware time of the launch.
        entropy: At least 7 random bytes.
    """
    milliseconds = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    value = (milliseconds << 52) | (int.from_bytes(entropy[:7], "big") & ((1 << 52) - 1))
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(95, -5, -5))


def slug(text: str, *, longest: int = 40) -> str:
    """Lower-case letters, digits and single dashes, beginning with a letter.

    >>> slug("Train ResNet_50!")
    'train-resnet-50'
    """
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not kept or not kept[0].isalpha():
        kept = f"c-{kept}".rstrip("-")
    return kept[:longest].rstrip("-")
