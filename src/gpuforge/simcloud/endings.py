"""How instances end: by a client, by the guest itself, at the deadline, by preemption.

Every end has two steps: it begins (STOPPING, from then on irrevocable) and it finishes once its latency is
over and nothing of the machine lives.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from gpuforge.simcloud import operations
from gpuforge.simcloud.instances import Ending
from gpuforge.simcloud.operations import OperationKind

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

__all__ = ["begin_ending", "finish_ending", "terminate"]

_WANTED = {Ending.DELETE: "gone", Ending.DEADLINE: "gone", Ending.PREEMPTED: "stop"}


def begin_ending(
    db: sqlite3.Connection, ids: Iterable[str], ending: Ending, *, at: float, due: float, reason: str
) -> list[str]:
    """Decide the end of instances; what is gone or on its way already is left alone.

    Returns:
        The names of the operations, one per zone.
    """
    # a delete also overtakes a preemption, which may only stop the instance
    condition = "ending IS NULL" if ending is Ending.PREEMPTED else "(ending IS NULL OR ending='preempted')"
    rows = [
        row
        for instance_id in dict.fromkeys(ids)
        if (
            row := db.execute(
                f"SELECT id, zone FROM instances WHERE id=? AND status!='DELETED' AND {condition}",  # noqa: S608 - a constant
                (instance_id,),
            ).fetchone()
        )
    ]
    names = []
    for zone, group in groupby(
        sorted(rows, key=lambda row: str(row["zone"])), key=lambda row: str(row["zone"])
    ):
        targets = [row["id"] for row in group]
        kind = OperationKind(ending.value)
        name = operations.insert(db, kind, zone=zone, targets=targets, at=at, due=due)
        db.executemany(
            "UPDATE instances SET status='STOPPING', ending=?, end_due=?, end_operation=?, wanted=?, reason=?"
            " WHERE id=?",
            [(ending.value, due, name, _WANTED[ending], reason, target) for target in targets],
        )
        names.append(name)
    return names


def finish_ending(
    db: sqlite3.Connection, ids: Iterable[str], *, at: float, new_id: Callable[[], str]
) -> None:
    """Bury instances whose end has begun; a preempted one may be kept, off."""
    ended_operations = set()
    for instance_id in ids:
        row = db.execute(
            "SELECT * FROM instances WHERE id=? AND ending IS NOT NULL AND status!='DELETED'", (instance_id,)
        ).fetchone()
        if row is None:
            continue
        ended_operations.add(row["end_operation"])
        if row["ending"] == Ending.PREEMPTED and row["termination_action"] == "STOP":
            terminate(db, instance_id, reason=row["reason"])
            continue
        if row["keeps_disk"]:
            _leave_disk(db, row, at=at, disk_id=new_id())
        db.execute(
            "UPDATE instances SET status='DELETED', ended=?, wanted='gone' WHERE id=?", (at, instance_id)
        )
        db.execute("DELETE FROM attributes WHERE instance_id=?", (instance_id,))
    for name in ended_operations:
        operations.close_finished(db, name, at=at)


def terminate(db: sqlite3.Connection, instance_id: str, *, reason: str) -> None:
    """Off, with its disk: seen as TERMINATED until it is deleted or its deadline comes."""
    db.execute(
        "UPDATE instances SET status='TERMINATED', ending=NULL, end_due=NULL, notice_at=NULL,"
        " preempt_at=NULL, wanted='gone', is_off=1, reason=? WHERE id=? AND status!='DELETED'",
        (reason, instance_id),
    )


def _leave_disk(db: sqlite3.Connection, row: sqlite3.Row, *, at: float, disk_id: str) -> None:
    db.execute(
        "INSERT INTO disks (id, name, zone, size_gib, owner, labels, instance_id, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (disk_id, row["name"], row["zone"], row["disk_gib"], row["owner"], row["labels"], row["id"], at),
    )
