"""Instances as rows of the simulated cloud: their states, and reading them back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "Disk",
    "Ending",
    "InstanceRow",
    "Key",
    "Status",
    "by_ids",
    "by_keys",
    "by_owner",
    "everything",
    "left_by",
    "leftover_disks",
]


class Status(StrEnum):
    """The simulated cloud's own words for an instance."""

    PROVISIONING = "PROVISIONING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    TERMINATED = "TERMINATED"  # off; its disk is still there
    DELETED = "DELETED"  # a tombstone, seen only by who asks for the id


class Ending(StrEnum):
    """Why an instance is on its way out."""

    DELETE = "delete"
    DEADLINE = "deadline"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One instance; times are seconds since 1970, UTC.

    Attributes:
        ending: Set from the moment its end is decided.
        ready_at: When its guest has booted, or ``None`` while it has not.
    """

    id: str
    name: str
    zone: str
    region: str
    instance_type: str
    capacity_type: str
    image: str
    disk_gib: int
    user: str
    ssh_server: str
    owner: str
    labels: Mapping[str, str]
    machines: str
    status: Status
    reason: str
    created: float
    deadline: float
    ended: float | None
    host: str
    port: int
    ready_at: float | None
    create_operation: str
    ending: Ending | None
    notice_at: float | None
    preempt_at: float | None
    reboot_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Points at an instance: by id where it is known, else by the name that lives."""

    zone: str
    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk whose instance is gone."""

    id: str
    name: str
    zone: str
    size_gib: int
    labels: Mapping[str, str]
    instance_id: str


def by_ids(db: sqlite3.Connection, ids: Iterable[str]) -> dict[str, InstanceRow]:
    """Those that exist or existed, tombstones included."""
    found: dict[str, InstanceRow] = {}
    for batch in _batches(list(ids)):
        marks = ",".join("?" * len(batch))
        rows = db.execute(f"SELECT * FROM instances WHERE id IN ({marks})", batch)  # noqa: S608 - marks only
        found.update((row["id"], _instance(row)) for row in rows)
    return found


def by_keys(db: sqlite3.Connection, keys: Sequence[Key]) -> list[InstanceRow | None]:
    """What each key points at, tombstones included; by name, the one that lives before any that did."""
    known = by_ids(db, [key.id for key in keys if key.id is not None])
    return [
        known.get(key.id) if key.id is not None else _last_of_name(db, key.zone, key.name) for key in keys
    ]


def _last_of_name(db: sqlite3.Connection, zone: str, name: str) -> InstanceRow | None:
    row = db.execute(
        "SELECT * FROM instances WHERE zone=? AND name=? ORDER BY ended IS NOT NULL, ended DESC LIMIT 1",
        (zone, name),
    ).fetchone()
    return _instance(row) if row else None


def by_owner(db: sqlite3.Connection, owner: str) -> list[InstanceRow]:
    """Every tombstone and live instance of an owner, by name."""
    rows = db.execute("SELECT * FROM instances WHERE owner=? ORDER BY name, created", (owner,))
    return [_instance(row) for row in rows]


def everything(db: sqlite3.Connection) -> list[InstanceRow]:
    """All that live, by name."""
    rows = db.execute("SELECT * FROM instances WHERE status!='DELETED' ORDER BY name, created")
    return [_instance(row) for row in rows]


def left_by(disk: Disk, key: Key) -> bool:
    """Whether the instance that ``key`` points at left this disk."""
    if key.id is not None:
        return disk.instance_id == key.id
    return (disk.zone, disk.name) == (key.zone, key.name)


def leftover_disks(db: sqlite3.Connection) -> list[Disk]:
    """Disks that outlived their instance."""
    return [
        Disk(
            id=row["id"],
            name=row["name"],
            zone=row["zone"],
            size_gib=row["size_gib"],
            labels=json.loads(row["labels"]),
            instance_id=row["instance_id"],
        )
        for row in db.execute("SELECT * FROM disks ORDER BY name, created")
    ]


def _batches(ids: Sequence[str], size: int = 500) -> Iterable[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _instance(row: sqlite3.Row) -> InstanceRow:
    return InstanceRow(
        id=row["id"],
        name=row["name"],
        zone=row["zone"],
        region=row["region"],
        instance_type=row["instance_type"],
        capacity_type=row["capacity_type"],
        image=row["image"],
        disk_gib=row["disk_gib"],
        user=row["user"],
        ssh_server=row["ssh_server"],
        owner=row["owner"],
        labels=json.loads(row["labels"]),
        machines=row["machines"],
        status=Status(row["status"]),
        reason=row["reason"],
        created=row["created"],
        deadline=row["deadline"],
        ended=row["ended"],
        host=row["host"],
        port=row["port"],
        ready_at=_ready_at(row),
        create_operation=row["create_operation"],
        ending=Ending(row["ending"]) if row["ending"] else None,
        notice_at=row["notice_at"],
        preempt_at=row["preempt_at"],
        reboot_count=row["reboot_count"],
    )


def _ready_at(row: sqlite3.Row) -> float | None:
    if row["machines"] == "processes":
        booted: float | None = row["booted_at"]
        return booted
    if row["running_since"] is None:
        return None
    return float(row["running_since"]) + float(row["boot_seconds"])
