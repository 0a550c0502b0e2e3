"""What this computer remembers of the last copy, so that an unchanged folder costs one round trip."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpuforge.node.remote.delivered import Record, load_record, save_record
from gpuforge.node.remote.entries import Entry, encode, encode_both, same, state_digest
from gpuforge.node.remote.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

__all__ = ["Local", "LocalTree", "record_path"]

_TICK_NS = 50_000_000  # a change this soon after a listing may leave size and time as they were


def record_path(folder: Path, *parts: str) -> str:
    """Where the record of one pair of places lies in a cluster's folder (made if missing)."""
    key = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    records = folder / "sync"
    records.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(records / f"{key}.manifest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """The local side of a push: a listing, and the digests known from the last one.

    Attributes:
        entries: As listed.
        state: Their digest without contents.
        record: What was remembered.
        listed_ns: When the listing was made.
        young: Files had changed in the moment of the last listing, and were looked at again.
    """

    path: str
    entries: list[Entry]
    state: str
    record: Record
    listed_ns: int
    young: bool = False

    @classmethod
    def load(cls, path: str, entries: Sequence[Entry], *, listed_ns: int) -> Local:
        """Join a listing with its record."""
        return cls(
            path=path,
            entries=list(entries),
            state=state_digest(encode(entries)),
            record=load_record(path),
            listed_ns=listed_ns,
        )

    def settled(self, tree: Tree) -> Local:
        """Look again at files that changed in the very moment of the last listing.

        Their size and time may be those of the version before: where the content differs, the record
        forgets them, so that they are treated as changed.
        """
        since = int(self.record.head.get("listed", 0)) - _TICK_NS
        if int(self.record.head.get("newest", 0)) < since or not self.record.head:
            return self
        young = [
            entry for entry in self.record.entries.values() if entry.kind == b"f" and entry.mtime >= since
        ]
        wrong = [entry.path for entry in young if not _holds(tree, entry)]
        if not wrong:
            return replace(self, young=bool(young))
        left = [entry for path, entry in self.record.entries.items() if path not in wrong]
        head = {**self.record.head, "state": ""}
        return replace(self, record=Record(head, encode(left, digests=True)))

    @property
    def is_known(self) -> bool:
        """The folder is as it was after the last complete push, as far as a stat can tell."""
        return self.record.head.get("state") == self.state

    @property
    def tree(self) -> str:
        """The tree digest of the last complete push."""
        return str(self.record.head.get("tree", ""))

    def add_digests(self, tree: Tree, indices: Iterable[int]) -> None:
        """Give these files their digest, from the record or by reading them."""
        for index in indices:
            entry = self.entries[index]
            before = self.record.entries.get(entry.path)
            if before is not None and before.extra and same(before, entry):
                self.entries[index] = entry._replace(extra=before.extra)
                continue
            try:
                self.entries[index] = entry._replace(extra=tree.digest(entry.path))
            except OSError:
                continue  # sending it will name the reason

    def confirm(self) -> None:
        """The last complete push still holds: what was looked at again need not be next time."""
        if self.young:
            save_record(self.path, {**self.record.head, "listed": self.listed_ns}, self.record.raw)

    def prepare(self, digest: str) -> Callable[[], None]:
        """Make ready to remember the entries as delivered with this tree digest; the call does it."""
        bare, full = encode_both(self.entries)
        head = {
            "state": state_digest(bare),
            "tree": digest,
            "listed": self.listed_ns,
            "newest": max((entry.mtime for entry in self.entries), default=0),
        }
        return functools.partial(save_record, self.path, head, full)


def _holds(tree: Tree, entry: Entry) -> bool:
    try:
        return tree.digest(entry.path) == entry.extra
    except OSError:
        return False


class LocalTree(Tree):
    """The local folder; a single file may go by another name on the machine.

    Args:
        root: The folder.
        renamed: The name used on the machine and the one it has here.
    """

    def __init__(self, root: bytes, renamed: tuple[bytes, bytes] | None = None) -> None:
        super().__init__(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._renamed = renamed

    def place(self, path: bytes) -> tuple[int, bytes]:
        """The descriptor of the folder that holds ``path``, and the last name."""
        if self._renamed is not None and path == self._renamed[0]:
            path = self._renamed[1]
        return super().place(path)
