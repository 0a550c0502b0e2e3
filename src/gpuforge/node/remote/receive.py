"""The node's end of a push."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from .delivered import Record, load_record, save_record
from .entries import Entry, check_name, decode, encode, encode_both, same, state_digest, tree_digest
from .incoming import FullError, Incoming, failed_row, make, sweep
from .tree import clashes
from .wire import GoneError, RefusedError, frame, message, pack, read_ahead, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Tuple

    from .tree import Tree

LOCK_SECONDS = 10.0  # the receiver of a client that was just killed leaves by itself


class Push:
    """One root's push, on the node."""

    def __init__(
        self,
        source: BinaryIO,
        say: Callable[[bytes], None],
        expect: Callable[[bytes], bytes],
        tree: Tree,
        book: str,
    ) -> None:
        self._source, self._say, self._expect, self._tree, self._book = source, say, expect, tree, book
        self._token = os.urandom(8).hex()

    def run(self, head: Dict[str, Any]) -> None:
        """The whole exchange."""
        lock = self._lock()
        try:
            old = load_record(self._book + ".manifest")
            begun = load_record(self._book + ".pending")
            if not head["manifest"]:
                tree = self._unchanged(head, old, begun)
                self._say(message(b"S", {"same": bool(tree), "tree": tree}))
                if tree:
                    return
            self._update(old, begun)
        finally:
            os.close(lock)

    def _lock(self) -> int:
        fd = os.open(self._book + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > until:
                    os.close(fd)
                    raise RefusedError("another copy to this folder is running") from None
                time.sleep(0.05)
            else:
                return fd

    def _unchanged(self, head: Dict[str, Any], old: Record, begun: Record) -> str:
        if begun.head or old.head.get("state") != head["state"]:
            return ""
        return str(old.head["tree"]) if self._tree.holds(old.raw) else ""

    def _update(self, old: Record, begun: Record) -> None:
        raw = unpack(self._expect(b"M"))
        entries = decode(raw)
        for entry in entries:
            check_name(entry.path)
        known = {**old.entries, **begun.entries}
        self._sweep(begun, known)
        wanted = {entry.path: entry for entry in entries}
        view = self._tree.look(sorted({*known, *wanted}))
        owned = [
            entry
            for path, entry in view.items()
            if same(known.get(path), entry) or same(old.entries.get(path), entry)
        ]
        self._add_digests(view, wanted, old)
        self._say(frame(b"V", pack(encode(view.values(), digests=True))))
        self._say(frame(b"O", pack(b"\0".join([e.path for e in owned]))))
        plan = json.loads(self._expect(b"P"))
        incoming = Incoming(self._tree, entries, self._token)
        frames = read_ahead(self._source)
        try:
            self._begin(raw, wanted, begun)
            deleted = self._apply(plan, entries)
            finish = self._receive(frames, incoming)
        except FullError as full:
            incoming.discard()
            self._say(message(b"A", full.args[0]))
            for _ in frames:
                pass  # the client is told, and ends its stream
            return
        except (GoneError, RefusedError):
            incoming.discard()
            raise
        self._finish(entries, view, incoming, finish, deleted)

    def _sweep(self, begun: Record, known: Dict[bytes, Entry]) -> None:
        if begun.head:
            sweep(self._tree, begun.head["token"], known)

    def _add_digests(self, view: Dict[bytes, Entry], wanted: Dict[bytes, Entry], old: Record) -> None:
        for path, now in view.items():
            want = wanted.get(path)
            if want is None or now.kind != b"f" or want.kind != b"f" or want.size != now.size:
                continue
            before = old.entries.get(path)
            if before is not None and before.extra and same(before, now):
                view[path] = now._replace(extra=before.extra)
            else:
                with contextlib.suppress(OSError):
                    view[path] = now._replace(extra=self._tree.digest(path))

    def _begin(self, raw: bytes, wanted: Dict[bytes, Entry], begun: Record) -> None:
        left = [entry for path, entry in begun.entries.items() if path not in wanted]
        try:
            save_record(self._book + ".pending", {"token": self._token}, raw + encode(left))
        except OSError as error:
            self._row(Entry(b"~/.gpuforge/sync", b"f", 0, 0, 0), error)
            raise RefusedError("cannot keep what is delivered: %s" % error.strerror) from error

    def _row(self, entry: Entry, error: OSError) -> None:
        self._say(message(b"R", failed_row(self._tree, entry, error)))

    def _apply(self, plan: Dict[str, Any], entries: List[Entry]) -> int:
        deleted = 0
        for text in plan["delete"]:
            path = os.fsencode(text)
            check_name(path)
            try:
                deleted += self._tree.remove(path)
            except OSError as error:
                self._row(Entry(path, b"f", 0, 0, 0), error)
        self._tree.forget()
        for index in plan["make"]:
            try:
                make(self._tree, entries[index])
            except OSError as error:
                self._row(entries[index], error)
        return deleted

    def _receive(self, frames: Iterator[Tuple[bytes, bytes]], incoming: Incoming) -> Dict[str, Any]:
        for kind, payload in frames:
            if kind == b"Z":
                finish: Dict[str, Any] = json.loads(payload)
                return finish
            if kind:
                for row in incoming.take(kind, payload):
                    self._say(message(b"R", row))
        raise GoneError

    def _finish(
        self,
        entries: List[Entry],
        view: Dict[bytes, Entry],
        incoming: Incoming,
        finish: Dict[str, Any],
        deleted: int,
    ) -> None:
        held = []
        for index, entry in enumerate(entries):
            now = incoming.done.get(index)
            if now is None and entry.kind == b"f" and entry.path in view:
                now = Entry(entry[0], entry[1], entry[2], entry[3], entry[4], view[entry.path].extra)
            held.append(entry if now is None else now)
        tree = tree_digest(held)
        for row in clashes(self._tree, finish["pairs"]):
            self._say(message(b"R", row))
        # the client finishes its own side meanwhile; should this end here, the next push reads instead
        self._say(message(b"D", {"tree": tree, "deleted": deleted}))
        if finish["tree"] == tree:
            bare, full = encode_both(held)
            with contextlib.suppress(OSError):
                save_record(self._book + ".manifest", {"state": state_digest(bare), "tree": tree}, full)
                os.unlink(self._book + ".pending")
