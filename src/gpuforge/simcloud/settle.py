"""What time has done: the events that fell due since the cloud was last looked at, applied in their order.

There is no daemon. Whoever looks first works out what happened, each event at the moment it was due; so
looking more often, or twice, changes nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from gpuforge.simcloud import operations
from gpuforge.simcloud.creation import accept_create, finish_create
from gpuforge.simcloud.endings import begin_ending, finish_ending
from gpuforge.simcloud.instances import Ending, Key, by_keys, left_by, leftover_disks
from gpuforge.simcloud.refusals import SimError
from gpuforge.simcloud.settings import MachineMode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from gpuforge.simcloud.rules import Rules

__all__ = ["delete_instances", "next_due", "settle_rows"]

# Events that fell due at one moment happen in the order of these queries. Instances with a process end
# when the process has (power.py), so their endings are no events here.
_DUE = {
    "late": "SELECT due FROM late_requests ORDER BY due, seq LIMIT 1",
    "created": "SELECT due FROM operations WHERE kind='create' AND status!='DONE' ORDER BY due, seq LIMIT 1",
    "ended": "SELECT MIN(end_due) FROM instances WHERE ending IS NOT NULL AND status!='DELETED'"
    " AND machines='none'",
    "deadline": "SELECT MIN(deadline) FROM instances WHERE ending IS NULL AND status!='DELETED'",
    "preempted": "SELECT MIN(preempt_at) FROM instances WHERE preempt_at IS NOT NULL AND status!='DELETED'"
    " AND ending IS NULL AND status!='TERMINATED'",
}


class _Event(NamedTuple):
    due: float
    order: int
    kind: str


def next_due(db: sqlite3.Connection) -> float | None:
    """When the next event falls due."""
    event = _next_event(db)
    return event.due if event else None


def settle_rows(db: sqlite3.Connection, rules: Rules, now: float) -> None:
    """Apply every event that is due at ``now``, earliest first."""
    while (event := _next_event(db)) is not None and event.due <= now:
        _HANDLERS[event.kind](db, rules, event.due)


def delete_instances(
    db: sqlite3.Connection, rules: Rules, keys: Sequence[Key], *, at: float, keeps_disk: bool = False
) -> None:
    """Accept a delete; what is gone already is success, and the disks that it left behind go with it."""
    ids = [row.id for row in by_keys(db, keys) if row is not None]
    if keeps_disk:
        db.executemany("UPDATE instances SET keeps_disk=1 WHERE id=?", [(x,) for x in ids])
    due = at + rules.settings.latency.delete_seconds
    begin_ending(db, ids, Ending.DELETE, at=at, due=due, reason="deleted")
    left = [disk.id for disk in leftover_disks(db) if any(left_by(disk, key) for key in keys)]
    db.executemany("DELETE FROM disks WHERE id=?", [(x,) for x in left])


def _next_event(db: sqlite3.Connection) -> _Event | None:
    found = []
    for order, (kind, query) in enumerate(_DUE.items()):
        row = db.execute(query).fetchone()
        if row is not None and row[0] is not None:
            found.append(_Event(row[0], order, kind))
    return min(found, default=None)


def _late(db: sqlite3.Connection, rules: Rules, due: float) -> None:
    row = db.execute("SELECT * FROM late_requests WHERE due=? ORDER BY seq LIMIT 1", (due,)).fetchone()
    db.execute("DELETE FROM late_requests WHERE seq=?", (row["seq"],))
    if row["call"] == "delete":
        keys = [Key(zone=zone, name=name, id=id_) for zone, name, id_ in json.loads(row["body"])]
        delete_instances(db, rules, keys, at=due)
        return
    try:
        accept_create(db, rules, token=row["token"], body=row["body"], at=due)
    except SimError:
        return  # refused when it landed; nobody waits for the answer any more


def _created(db: sqlite3.Connection, _rules: Rules, due: float) -> None:
    row = db.execute(
        "SELECT name FROM operations WHERE kind='create' AND status!='DONE' AND due=? ORDER BY seq LIMIT 1",
        (due,),
    ).fetchone()
    operation = operations.get(db, row["name"])
    if operation is not None:
        finish_create(db, operation, at=due)


def _ended(db: sqlite3.Connection, rules: Rules, due: float) -> None:
    ids = _ids(db, "end_due=? AND ending IS NOT NULL AND status!='DELETED' AND machines='none'", due)
    finish_ending(db, ids, at=due, new_id=rules.new_id)


def _deadline(db: sqlite3.Connection, rules: Rules, due: float) -> None:
    ids = _ids(db, "deadline=? AND ending IS NULL AND status!='DELETED'", due)
    end_due = due + rules.settings.latency.delete_seconds
    begin_ending(db, ids, Ending.DEADLINE, at=due, due=end_due, reason="its deadline was reached")


def _preempted(db: sqlite3.Connection, rules: Rules, due: float) -> None:
    latency = rules.settings.latency
    for machines, span in (
        (MachineMode.NONE, latency.delete_seconds),
        (MachineMode.PROCESSES, latency.soft_off_seconds),
    ):
        ids = _ids(
            db,
            f"preempt_at=? AND ending IS NULL AND status NOT IN ('DELETED', 'TERMINATED')"
            f" AND machines='{machines}'",
            due,
        )
        begin_ending(db, ids, Ending.PREEMPTED, at=due, due=due + span, reason="preempted")


def _ids(db: sqlite3.Connection, condition: str, value: float) -> list[str]:
    rows = db.execute(f"SELECT id FROM instances WHERE {condition} ORDER BY id", (value,))  # noqa: S608 - constants
    return [row["id"] for row in rows.fetchall()]


_HANDLERS: dict[str, Callable[[sqlite3.Connection, Rules, float], None]] = {
    "late": _late,
    "created": _created,
    "ended": _ended,
    "deadline": _deadline,
    "preempted": _preempted,
}
