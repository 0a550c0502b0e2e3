"""The cloud's side of a machine's supervisor: what is wanted of it, and what it reports, over the one file.

Loaded by every supervisor, so it imports little.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpuforge.models.clock import Clock, SystemClock
from gpuforge.simcloud.database import Database
from gpuforge.simcloud.endings import begin_ending, terminate
from gpuforge.simcloud.instances import Ending
from gpuforge.simcloud.machines.link import Desired, Wanted

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CloudLink"]

_GONE = Desired(wanted=Wanted.GONE, deadline=None)
# what Compute Engine allows for one guest attribute, and for all of an instance in round numbers
_LONGEST_VALUE = 256 * 1024
_MOST_ATTRIBUTES = 100
_REASONS = {
    "guest": "powered off from inside",
    "host": "this computer shut down",
    "deleted": "its supervisor was told that it is deleted",
}


class CloudLink:
    """Implements :class:`gpuforge.simcloud.machines.link.MachineLink` on ``<folder>/cloud.sqlite3``."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._database = Database(folder)
        self._clock = clock or SystemClock()
        self._last: dict[str, Desired] = {}

    def desired(self, instance_id: str) -> Desired:
        """What is wanted now; ``GONE`` when the row, or the whole cloud, is missing."""
        if not self._database.exists():
            return _GONE
        try:
            with self._database.read() as db:
                row = db.execute("SELECT * FROM instances WHERE id=?", (instance_id,)).fetchone()
        except sqlite3.OperationalError:
            # a busy or vanishing file is no reason to power off; a missing one is, at the next look
            return self._last.get(instance_id, Desired(wanted=Wanted.RUN, deadline=None))
        desired = _GONE if row is None or row["status"] in {"DELETED", "TERMINATED"} else _desired(row)
        self._last[instance_id] = desired
        return desired

    def booted(self, instance_id: str, *, pid: int, host: str, port: int) -> None:
        """The SSH server listens at ``host`` and ``port``."""
        with self._database.write() as db:
            db.execute(
                "UPDATE instances SET booted_at=?, pid=?, host=?, port=? WHERE id=? AND status!='DELETED'",
                (self._now(), pid, host, port, instance_id),
            )

    def publish(self, instance_id: str, key: str, value: str) -> None:
        """Set a guest attribute; one that is too long, or one too many, is not kept."""
        if len(value.encode()) > _LONGEST_VALUE:
            return
        with self._database.write() as db:
            (count,) = db.execute(
                "SELECT COUNT(*) FROM attributes WHERE instance_id=? AND key!=?", (instance_id, key)
            ).fetchone()
            if count < _MOST_ATTRIBUTES:
                db.execute(
                    "INSERT OR REPLACE INTO attributes (instance_id, key, value)"
                    " SELECT id, ?, ? FROM instances WHERE id=? AND status!='DELETED'",
                    (key, value, instance_id),
                )

    def rebooted(self, instance_id: str, reboot_count: int) -> None:
        """The reboot that was wanted is done; one that was asked for meanwhile stays wanted."""
        with self._database.write() as db:
            db.execute("UPDATE instances SET rebooted_count=? WHERE id=?", (reboot_count, instance_id))
            db.execute(
                "UPDATE instances SET wanted='run' WHERE id=? AND wanted='reboot' AND reboot_count<=?",
                (instance_id, reboot_count),
            )

    def powered_off(self, instance_id: str, reason: str) -> None:
        """Nothing of the machine lives any more; settling does the rest."""
        now = self._now()
        with self._database.write() as db:
            db.execute("UPDATE instances SET is_off=1 WHERE id=?", (instance_id,))
            if reason == "deadline":
                begin_ending(
                    db, [instance_id], Ending.DEADLINE, at=now, due=now, reason="its deadline was reached"
                )
            elif reason == "preempted":
                begin_ending(db, [instance_id], Ending.PREEMPTED, at=now, due=now, reason="preempted")
            elif not _is_ending(db, instance_id):
                terminate(db, instance_id, reason=_REASONS.get(reason, reason))
            # the soft-off window of a preemption is a limit, and this machine did not need all of it
            db.execute(
                "UPDATE instances SET end_due=MIN(end_due, ?) WHERE id=? AND ending='preempted'",
                (now, instance_id),
            )

    def self_delete(self, instance_id: str) -> None:
        """The guest asked for its own deletion."""
        now = self._now()
        with self._database.write() as db:
            begin_ending(
                db, [instance_id], Ending.DELETE, at=now, due=now, reason="deleted by itself: it was idle"
            )

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _is_ending(db: sqlite3.Connection, instance_id: str) -> bool:
    row = db.execute("SELECT ending FROM instances WHERE id=?", (instance_id,)).fetchone()
    return row is not None and row["ending"] is not None


def _desired(row: sqlite3.Row) -> Desired:
    return Desired(
        wanted=Wanted(row["wanted"]),
        deadline=_moment(row["deadline"]),
        notice_at=_moment(row["notice_at"]),
        preempt_at=_moment(row["preempt_at"]),
        reboot_count=row["reboot_count"],
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
