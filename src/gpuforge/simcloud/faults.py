"""Faults on demand: what goes wrong with the next calls, chosen by call and count.

They lie in the cloud's file, so a test can arm one and another process meets it. Each fault acts on
``times`` calls after letting ``after`` of them pass; faults armed first act first, one per call.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gpuforge.simcloud.refusals import Code, SimError

if TYPE_CHECKING:
    import sqlite3

    from gpuforge.simcloud.database import Database

__all__ = ["CALLS", "Fate", "Fault", "Faults", "is_armed", "take"]

CALLS = ("create", "delete", "list", "wait", "boot_report")


class Fate(StrEnum):
    """What becomes of a call; the text after a colon is its argument."""

    NONE = "none"
    LOST = "lost"  # never arrives; the caller sees "unavailable"
    REPLY_LOST = "reply_lost"  # is done; the caller sees "unavailable"
    LATE = "late"  # late:SECONDS: the caller sees "unavailable", it is done that much later
    ERROR = "error"  # error:CODE: refused so, nothing is done
    OPERATION_ERROR = "operation_error"  # operation_error:CODE: accepted, then its operation fails so
    STALE = "stale"  # stale:SECONDS: a list shows the cloud as it was that long ago
    INCOMPLETE = "incomplete"  # incomplete:ZONE: a list misses a zone, and says so
    SKEW = "skew"  # skew:SECONDS: the cloud's own clock in the answer is that much ahead
    KEEPS_DISK = "keeps_disk"  # a delete leaves the disk behind


_FATES_OF = {
    "create": {Fate.LOST, Fate.REPLY_LOST, Fate.LATE, Fate.ERROR, Fate.OPERATION_ERROR},
    "delete": {Fate.LOST, Fate.REPLY_LOST, Fate.LATE, Fate.ERROR, Fate.OPERATION_ERROR, Fate.KEEPS_DISK},
    "list": {Fate.LOST, Fate.ERROR, Fate.STALE, Fate.INCOMPLETE, Fate.SKEW},
    "wait": {Fate.LOST, Fate.ERROR},
    "boot_report": {Fate.LOST, Fate.ERROR},
}
_WITH_SECONDS = {Fate.LATE, Fate.STALE, Fate.SKEW}
_WITH_CODE = {Fate.ERROR, Fate.OPERATION_ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One that is armed, or the one a call has met."""

    call: str
    fate: Fate
    argument: str = ""
    after: int = 0
    times: int = 1

    @property
    def seconds(self) -> float:
        """The argument as a span."""
        return float(self.argument)

    @property
    def code(self) -> Code:
        """The argument as a code."""
        return Code(self.argument)

    def raise_before(self) -> None:
        """What the caller sees when the call is not done.

        Raises:
            SimError: It is lost or refused.
        """
        if self.fate is Fate.LOST:
            raise SimError(Code.UNAVAILABLE, f"no reply to {self.call}: the request was lost (fault)")
        if self.fate is Fate.ERROR:
            raise SimError(self.code, f"{self.call} was refused: {self.code} (fault)")

    def raise_after(self) -> None:
        """What the caller sees when the call is done all the same.

        Raises:
            SimError: The reply is lost, or the call is on its way for longer than the caller waits.
        """
        if self.fate in {Fate.REPLY_LOST, Fate.LATE}:
            raise SimError(Code.UNAVAILABLE, f"no reply to {self.call}: it timed out (fault)")


class Faults:
    """The faults armed in one cloud."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, *, call: str, fate: str, times: int = 1, after: int = 0) -> None:
        """Arm one.

        Args:
            call: One of :data:`CALLS`.
            fate: A :class:`Fate`, with its argument after a colon: ``error:capacity``.
            times: How many calls it acts on.
            after: How many calls pass first.

        Raises:
            SimError: No such call, or no such fate of it.
        """
        fault = _parse(call, fate, times, after)
        with self._database.write() as db:
            db.execute(
                "INSERT INTO faults (call, fate, argument, skip, times) VALUES (?, ?, ?, ?, ?)",
                (fault.call, fault.fate, fault.argument, after, times),
            )

    def armed(self) -> list[Fault]:
        """Those that will still act, in their order."""
        with self._database.read() as db:
            return [_fault(row) for row in db.execute("SELECT * FROM faults ORDER BY seq")]

    def clear(self) -> None:
        """Disarm them all."""
        with self._database.write() as db:
            db.execute("DELETE FROM faults")


def take(db: sqlite3.Connection, call: str) -> Fault:
    """The fault that this call meets, counted down; :attr:`Fate.NONE` when there is none."""
    met: Fault | None = None
    for row in db.execute("SELECT * FROM faults WHERE call=? ORDER BY seq", (call,)).fetchall():
        if row["skip"] > 0:
            db.execute("UPDATE faults SET skip=skip-1 WHERE seq=?", (row["seq"],))
        elif met is None:
            met = _fault(row)
            db.execute("UPDATE faults SET times=times-1 WHERE seq=?", (row["seq"],))
    db.execute("DELETE FROM faults WHERE times<=0")
    return met or Fault(call=call, fate=Fate.NONE)


def is_armed(db: sqlite3.Connection, call: str) -> bool:
    """Whether any fault waits for this call."""
    return db.execute("SELECT 1 FROM faults WHERE call=? LIMIT 1", (call,)).fetchone() is not None


def _fault(row: sqlite3.Row) -> Fault:
    return Fault(
        call=row["call"],
        fate=Fate(row["fate"]),
        argument=row["argument"],
        after=row["skip"],
        times=row["times"],
    )


def _parse(call: str, text: str, times: int, after: int) -> Fault:
    if call not in CALLS:
        raise SimError(Code.INVALID, f"there is no call {call!r}", hint=", ".join(CALLS))
    name, _, argument = text.partition(":")
    known = _FATES_OF[call]
    if name not in known:
        raise SimError(Code.INVALID, f"{call} has no fate {name!r}", hint=", ".join(sorted(known)))
    if times < 1 or after < 0:
        raise SimError(Code.INVALID, "a fault acts at least once, after none or more calls")
    fate = Fate(name)
    _check_argument(fate, argument)
    return Fault(call=call, fate=fate, argument=argument, after=after, times=times)


def _check_argument(fate: Fate, argument: str) -> None:
    try:
        if fate in _WITH_SECONDS:
            float(argument)
        elif fate in _WITH_CODE:
            Code(argument)
    except ValueError:
        wants = "seconds" if fate in _WITH_SECONDS else f"one of {', '.join(Code)}"
        raise SimError(Code.INVALID, f"{fate} needs {wants} after a colon, not {argument!r}") from None
    if fate is Fate.INCOMPLETE and not argument:
        raise SimError(Code.INVALID, "incomplete needs a zone after a colon")
