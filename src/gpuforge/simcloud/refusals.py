"""What the simulated cloud answers when it does not do what was asked: one error, a closed set of codes."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Code", "SimError"]


class Code(StrEnum):
    """The cloud's own words; a provider maps them at its border."""

    CAPACITY = "capacity"  # out of stock in this zone
    QUOTA = "quota"  # the account's limit in this region
    RATE_LIMIT = "rate_limit"  # too many calls
    UNAVAILABLE = "unavailable"  # no reply, or a reply without a meaning: the call's fate is unknown
    CREDENTIALS = "credentials"
    PERMISSION = "permission"
    INVALID = "invalid"  # will never be accepted
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"  # the name lives, or the token came with another body
    INTERNAL = "internal"  # the cloud failed


class SimError(Exception):
    """A refusal or a failure of the simulated cloud.

    Attributes:
        code: Which kind.
        message: One sentence without a full stop; names the thing.
        hint: What would be accepted instead; may be empty.
    """

    def __init__(self, code: Code, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
