"""What a copy did, as both ends report it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SyncReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """One direction, one root, one node.

    Attributes:
        files: Entries that are now equal on both sides.
        total_bytes: Their size.
        sent_files: Entries whose content travelled.
        sent_bytes: Bytes of content that travelled.
        deleted: Entries removed on the receiving side.
        ignored: Entries left out by ignore rules.
        digest: Tree digest, computed by both ends and found equal.
        skipped: ``(path, reason)`` of each entry that was left alone on purpose, such as a local
            output that changed since.
        seconds: Wall time.
    """

    root: str
    files: int
    total_bytes: int
    sent_files: int
    sent_bytes: int
    deleted: int
    ignored: int
    digest: str
    skipped: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
