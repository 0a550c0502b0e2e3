"""What a copy did, as both ends report it, and sizes as people read them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SyncReport", "format_size"]

_KILO = 1000


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


def format_size(count: int) -> str:
    """Bytes in decimal units.

    >>> format_size(3_100_000), format_size(999), format_size(999_960)
    ('3.1 MB', '999 B', '1.0 MB')
    """
    if count < _KILO:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= _KILO
        if round(value, 1) < _KILO:
            return f"{value:.1f} {unit}"
    return f"{value / _KILO:,.1f} TB"
