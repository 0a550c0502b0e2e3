"""Does the journal still say what was written? Every row's hash, every link, and the head kept outside.

The input is hostile: a damaged row may hold anything, so every field is checked before it is hashed, and no
damage ends in a traceback.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.errors import StateError
from gpuforge.state.journal import GENESIS, Head, RowKind, canonical, row_hash

if TYPE_CHECKING:
    from gpuforge.state.journal import Journal

__all__ = ["AuditReport", "Fault", "verify"]

_TYPES = (int, str, int, str, str, int, str, str, str, str)
_NAMES = ("seq", "at", "epoch", "cluster", "node", "attempt", "kind", "body", "prev", "hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first thing that is wrong; ``seq`` is the row it was met at, by its place in the chain."""

    seq: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What the verifier found.

    Attributes:
        rows: Rows that are as they were written, from the first on.
        fault: The first bad row; None when all are good and the head is reached.
        head: The last good row, to be compared with copies kept elsewhere.
    """

    rows: int
    fault: Fault | None
    head: Head | None

    @property
    def is_whole(self) -> bool:
        """Nothing was edited, and no tail is missing as far as this computer knows."""
        return self.fault is None


def verify(journal: Journal) -> AuditReport:
    """Check every row and the head; never raises for damage in the rows.

    Raises:
        StateError: The database itself cannot be opened or read at all.
    """
    prev, count = GENESIS, 0
    fault: Fault | None = None
    hashes: dict[int, str] = {}
    try:
        for values in journal.raw_rows():
            reason = _wrong(values, seq=count + 1, prev=prev)
            if reason:
                fault = Fault(seq=count + 1, reason=reason)
                break
            prev = str(values[-1])
            count += 1
            hashes[count] = prev
    except StateError as error:
        fault = Fault(seq=count + 1, reason=error.details)
    fault = fault or _head_fault(journal, hashes)
    return AuditReport(rows=count, fault=fault, head=Head(seq=count, hash=prev) if count else None)


def _wrong(values: tuple[object, ...], *, seq: int, prev: str) -> str:
    """Why a row is not as it was written, or empty."""
    for name, value, kind in zip(_NAMES, values, _TYPES, strict=True):
        if type(value) is not kind:
            return f"its {name} is a {type(value).__name__}"
    *hashed, stated_prev, stated_hash = values
    if hashed[0] != seq:
        return f"it stands where row {seq} should: a row is missing"
    if hashed[6] not in set(RowKind):
        return f"its kind {hashed[6]!r} is unknown"
    if stated_prev != prev:
        return "it does not follow the row before it"
    if not _is_canonical(str(hashed[7])):
        return "its body is not the canonical JSON of an object"
    fields = [value for value in hashed if isinstance(value, int | str)]
    return "" if row_hash(prev, fields) == stated_hash else "it was changed after it was written"


def _is_canonical(text: str) -> bool:
    try:
        body = json.loads(text)
        return isinstance(body, dict) and canonical(body) == text
    except (ValueError, RecursionError):
        return False


def _head_fault(journal: Journal, hashes: dict[int, str]) -> Fault | None:
    """The chain is good: does it reach the head remembered outside?"""
    last = len(hashes)
    try:
        head = journal.remembered_head()
    except StateError as error:
        return Fault(seq=last, reason=error.details)
    if head is None:
        # between the first commit and the first head there is none
        return Fault(seq=last, reason="the file that remembers its head is missing") if last > 1 else None
    if head.seq > last:
        return Fault(seq=last + 1, reason=f"rows {last + 1} to {head.seq} had been written and are missing")
    if hashes.get(head.seq) != head.hash:
        return Fault(seq=head.seq, reason="it is not the row that had been written there")
    return None
