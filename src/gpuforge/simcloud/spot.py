"""Steering single instances: preemption with its notice, and reboots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.simcloud import operations
from gpuforge.simcloud.instances import InstanceRow, Status, by_ids
from gpuforge.simcloud.operations import OperationKind
from gpuforge.simcloud.refusals import Code, SimError
from gpuforge.simcloud.settings import MachineMode

if TYPE_CHECKING:
    import sqlite3

__all__ = ["preempt", "reboot"]


def preempt(db: sqlite3.Connection, instance_id: str, *, notice_seconds: float, at: float) -> None:
    """Take a spot instance back: the notice shows now, its soft-off begins after ``notice_seconds``.

    Raises:
        SimError: No such instance, it is not spot, or it does not run.
    """
    row = _running(db, instance_id)
    if row.capacity_type != "spot":
        raise SimError(
            Code.INVALID,
            f"{row.name} is on demand, and only spot instances are preempted",
            hint="rent it with use_spot: true",
        )
    if notice_seconds < 0:
        raise SimError(Code.INVALID, "a notice is not negative")
    db.execute(
        "UPDATE instances SET notice_at=?, preempt_at=? WHERE id=? AND preempt_at IS NULL",
        (at, at + notice_seconds, instance_id),
    )


def reboot(db: sqlite3.Connection, instance_id: str, *, at: float) -> None:
    """Restart an instance's guest: its processes end, its files and address stay.

    Raises:
        SimError: No such instance, or it does not run.
    """
    row = _running(db, instance_id)
    name = operations.insert(db, OperationKind.REBOOT, zone=row.zone, targets=[row.id], at=at, due=at)
    operations.finish(db, name, at=at)
    if row.machines == MachineMode.NONE:
        db.execute(
            "UPDATE instances SET reboot_count=reboot_count+1, rebooted_count=reboot_count+1, running_since=?"
            " WHERE id=?",
            (at, instance_id),
        )
        return
    db.execute("UPDATE instances SET reboot_count=reboot_count+1, wanted='reboot' WHERE id=?", (instance_id,))


def _running(db: sqlite3.Connection, instance_id: str) -> InstanceRow:
    row = by_ids(db, [instance_id]).get(instance_id)
    if row is None or row.status is Status.DELETED:
        raise SimError(Code.NOT_FOUND, f"there is no instance {instance_id}")
    if row.status is not Status.RUNNING:
        raise SimError(Code.INVALID, f"{row.name} does not run: it is {row.status}")
    return row
