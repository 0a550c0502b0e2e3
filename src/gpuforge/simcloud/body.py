"""The create request as the simulated cloud reads it: strict, and never without a way to end."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gpuforge.models.clock import rfc3339
from gpuforge.simcloud.refusals import Code, SimError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["REQUIRED_LABELS", "CreateBody"]

REQUIRED_LABELS = ("gf-owner", "gf-journal", "gf-cluster", "gf-intent", "gf-deadline")
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_ACTIONS = ("DELETE", "STOP")
_CAPACITY = ("on_demand", "spot")
_LARGEST_GANG = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBody:
    """A gang of equal instances, created whole or not at all.

    Attributes:
        ssh_keys: ``user:key type blob comment``, as instance metadata has them.
        termination_action: What a preemption leaves: ``DELETE`` nothing, ``STOP`` a stopped instance.
    """

    names: tuple[str, ...]
    zone: str
    instance_type: str
    capacity_type: str
    image: str
    disk_gib: int
    deadline: datetime
    labels: Mapping[str, str]
    user: str
    ssh_keys: tuple[str, ...]
    metadata: Mapping[str, str]
    termination_action: str = "DELETE"
    auto_delete: bool = True

    def to_bytes(self) -> bytes:
        """Canonical: the same request, the same bytes."""
        document = {
            "capacity_type": self.capacity_type,
            "deadline": rfc3339(self.deadline),
            "disk": {"auto_delete": self.auto_delete, "size_gib": self.disk_gib},
            "image": self.image,
            "instance_type": self.instance_type,
            "labels": dict(self.labels),
            "metadata": dict(self.metadata),
            "names": list(self.names),
            "ssh_keys": list(self.ssh_keys),
            "termination_action": self.termination_action,
            "user": self.user,
            "zone": self.zone,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> CreateBody:
        """Read and check what can be checked without the cloud's state.

        Raises:
            SimError: Not such a request, or one whose instances nothing would ever end.
        """
        document = _document(body)
        disk = document["disk"]
        parsed = cls(
            names=tuple(document["names"]),
            zone=document["zone"],
            instance_type=document["instance_type"],
            capacity_type=document["capacity_type"],
            image=document["image"],
            disk_gib=disk["size_gib"],
            auto_delete=disk["auto_delete"],
            deadline=_moment(document["deadline"]),
            labels=document["labels"],
            metadata=document["metadata"],
            user=document["user"],
            ssh_keys=tuple(document["ssh_keys"]),
            termination_action=document["termination_action"],
        )
        for is_wrong, message in parsed._complaints():
            if is_wrong:
                raise SimError(Code.INVALID, message)
        return parsed

    def _complaints(self) -> tuple[tuple[bool, str], ...]:
        bad_names = [name for name in self.names if not _NAME.fullmatch(name)]
        missing = [label for label in REQUIRED_LABELS if not self.labels.get(label)]
        return (
            (not self.names, "a create names at least one instance"),
            (len(self.names) > _LARGEST_GANG, f"a create names at most {_LARGEST_GANG} instances"),
            (bool(bad_names), f"{', '.join(map(repr, bad_names))} cannot be the name of an instance"),
            (len(set(self.names)) != len(self.names), "a create names an instance twice"),
            (bool(missing), f"the create lacks the labels {', '.join(missing)}"),
            (not self.auto_delete, "the create would leave its disk behind: auto_delete is off"),
            (self.capacity_type not in _CAPACITY, f"there is no capacity type {self.capacity_type!r}"),
            (self.termination_action not in _ACTIONS, f"no such action: {self.termination_action!r}"),
            (self.disk_gib < 1, "a boot disk has at least 1 GiB"),
        )


_SHAPE: dict[str, type | tuple[type, ...]] = {
    "capacity_type": str,
    "deadline": str,
    "disk": dict,
    "image": str,
    "instance_type": str,
    "labels": dict,
    "metadata": dict,
    "names": list,
    "ssh_keys": list,
    "termination_action": str,
    "user": str,
    "zone": str,
}


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise SimError(Code.INVALID, f"the request is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise SimError(Code.INVALID, "the request is no JSON object")
    if not document.get("deadline"):
        raise SimError(Code.INVALID, "the create has no deadline: nothing would ever end the instance")
    _same_fields(set(document), set(_SHAPE))
    for key, kind in _SHAPE.items():
        if not isinstance(document[key], kind):
            raise SimError(Code.INVALID, f"{key} has the wrong type")
    _texts(document)
    return document


def _same_fields(given: set[str], known: set[str]) -> None:
    if unknown := sorted(given - known):
        raise SimError(Code.INVALID, f"unknown fields: {', '.join(unknown)}")
    if missing := sorted(known - given):
        raise SimError(Code.INVALID, f"missing fields: {', '.join(missing)}")


def _texts(document: dict[str, Any]) -> None:
    texts = [*document["names"], *document["ssh_keys"]]
    for mapping in (document["labels"], document["metadata"]):
        texts += mapping.values()
    if not all(isinstance(text, str) for text in texts):
        raise SimError(Code.INVALID, "names, keys, labels and metadata are texts")
    disk = document["disk"]
    _same_fields(set(disk), {"auto_delete", "size_gib"})
    if type(disk["size_gib"]) is not int or type(disk["auto_delete"]) is not bool:
        raise SimError(Code.INVALID, "disk has the wrong type")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SimError(Code.INVALID, f"deadline {text!r} is no RFC 3339 time") from error
    if moment.tzinfo is None:
        raise SimError(Code.INVALID, f"deadline {text!r} has no time zone")
    return moment.astimezone(UTC)
