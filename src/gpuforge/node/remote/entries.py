"""What a tree holds, as values, as bytes and as one digest."""

from __future__ import annotations

import os
import stat
from _blake2 import blake2b  # what hashlib gives, without loading OpenSSL
from collections import namedtuple

from .wire import NONE, RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, List, NamedTuple, Optional, Tuple

DIGEST_BYTES = 16


if TYPE_CHECKING:

    class Entry(NamedTuple):
        """One thing in a tree; ``path`` is relative to its root, in the file system's own bytes.

        ``kind`` is ``f``, ``d`` or ``l`` (``?`` for what cannot be copied); only files have ``size`` and
        ``mtime`` (nanoseconds). ``extra`` is a symlink's target, or a file's BLAKE2b in hex where known.
        """

        path: bytes
        kind: bytes
        mode: int
        size: int
        mtime: int
        extra: bytes = NONE

else:  # the same, as typing takes longer to load than all of the receiver
    Entry = namedtuple("Entry", "path kind mode size mtime extra", defaults=(NONE,))  # noqa: PYI024


def encode(entries: Iterable[Entry], *, digests: bool = False) -> bytes:
    """Entries as bytes; equal bytes without digests mean equal names, kinds, modes, sizes and times."""
    return b"".join(
        [
            b"%s%o %d %d\0%s\0%s\0"
            % (e[1], e[2], e[3], e[4], e[0], e[5] if digests or e[1] == b"l" else NONE)
            for e in entries
        ]
    )


def encode_both(entries: Iterable[Entry]) -> Tuple[bytes, bytes]:
    """Encoded without digests, and with them."""
    heads = [(b"%s%o %d %d\0%s\0" % (e[1], e[2], e[3], e[4], e[0]), e[5], e[1]) for e in entries]
    bare = b"".join([b"%s%s\0" % (head, extra if kind == b"l" else NONE) for head, extra, kind in heads])
    return bare, b"".join([b"%s%s\0" % (head, extra) for head, extra, _ in heads])


def decode(raw: bytes) -> List[Entry]:
    """The reverse of :func:`encode`."""
    parts = raw.split(b"\0")
    entries = []
    for at in range(0, len(parts) - 1, 3):
        mode, size, mtime = parts[at][1:].split(b" ")
        entries.append(
            Entry(parts[at + 1], parts[at][:1], int(mode, 8), int(size), int(mtime), parts[at + 2])
        )
    return entries


def same(one: Optional[Entry], two: Entry) -> bool:
    """Equal as far as a stat can tell."""
    return one is not None and one[:5] == two[:5] and (one.kind != b"l" or one.extra == two.extra)


def tree_digest(entries: Iterable[Entry]) -> str:
    """One digest over names, kinds, modes and contents; order does not matter, times do not count."""
    rows = sorted([(e[0], b"%s\0%s%o\0%s\0" % (e[0], e[1], e[2], e[5])) for e in entries])
    return blake2b(b"".join([row for _, row in rows]), digest_size=32).hexdigest()


def state_digest(raw: bytes) -> str:
    """The digest by which two manifests are compared in one round trip."""
    return blake2b(raw, digest_size=32).hexdigest()


def check_name(path: bytes) -> None:
    """Refuse what could leave the root, whoever sent it."""
    padded = b"/" + path + b"/"
    if b"//" in padded or b"/./" in padded or b"/../" in padded or b"\0" in path:
        raise RefusedError("the name %r would leave its folder" % os.fsdecode(path))


def of_stat(path: bytes, info: os.stat_result, folder: Optional[int] = None) -> Entry:
    """What a stat says; ``folder`` is where the last part of ``path`` is found (to read a link)."""
    mode = info.st_mode
    if stat.S_ISREG(mode):
        return Entry(path, b"f", mode & 0o777, info.st_size, info.st_mtime_ns)
    if stat.S_ISDIR(mode):
        return Entry(path, b"d", mode & 0o777, 0, 0)
    if stat.S_ISLNK(mode):
        return Entry(path, b"l", 0, 0, 0, os.readlink(path.rpartition(b"/")[2], dir_fd=folder))
    return Entry(path, b"?", 0, 0, 0)
