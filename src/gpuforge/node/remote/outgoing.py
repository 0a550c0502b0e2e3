"""The sending end of a stream of files."""

from __future__ import annotations

import errno
import os
import stat
from _blake2 import blake2b

from .entries import DIGEST_BYTES, Entry, of_stat
from .wire import BEGIN, CHUNK, FRAME, SMALL, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

    from .tree import Tree

_SMALL_BYTES = 256 * 1024


class ChangedError(Exception):
    """The file changed while it was read."""


class Outgoing:
    """Sends files, each that changed meanwhile once more; ``done`` maps an index to what was sent.

    Args:
        tree: Where they are.
        entries: As listed; a file that is no longer as listed is looked at again and then sent.
        emit: Takes each frame.
    """

    def __init__(self, tree: Tree, entries: List[Entry], emit: Callable[[bytes], Any]) -> None:
        self._tree, self._entries, self._emit = tree, entries, emit
        self._batch: List[bytes] = []
        self._waiting = 0
        self.done: Dict[int, Entry] = {}

    def send(self, indices: Iterable[int]) -> Iterator[Tuple[str, str]]:
        """Send; yields a row for each file that could not be."""
        again = []
        for index in indices:
            try:
                self._send(index, self._entries[index])
            except ChangedError:
                again.append(index)
            except OSError as error:
                yield self._row(index, error)
        for index in again:
            try:
                self._send(index, self._fresh(index))
            except ChangedError:
                yield os.fsdecode(self._entries[index].path), "changed while it was sent, twice"
            except OSError as error:
                yield self._row(index, error)
        self._flush()

    def _fresh(self, index: int) -> Entry:
        path = self._entries[index].path
        fd = self._tree.open_file(path)
        try:
            return of_stat(path, os.fstat(fd))
        finally:
            os.close(fd)

    def _send(self, index: int, entry: Entry) -> None:
        fd = self._tree.open_file(entry.path)
        try:
            if entry.size <= _SMALL_BYTES:
                data = os.read(fd, entry.size + 1)
                _check_unchanged(fd, entry, len(data))
                raw = blake2b(data, digest_size=DIGEST_BYTES).digest()
                self._batch += (SMALL.pack(index, entry.mode, entry.mtime, entry.size, raw), data)
                self._waiting += entry.size + SMALL.size
                if self._waiting >= CHUNK:
                    self._flush()
            else:
                self._flush()
                raw = self._send_large(fd, index, entry)
        finally:
            os.close(fd)
        self.done[index] = Entry(entry[0], entry[1], entry[2], entry[3], entry[4], raw.hex().encode())

    def _send_large(self, fd: int, index: int, entry: Entry) -> bytes:
        self._emit(frame(b"B", BEGIN.pack(index, entry.mode, entry.mtime, entry.size)))
        engine, left = blake2b(digest_size=DIGEST_BYTES), entry.size
        while left:
            data = os.read(fd, min(CHUNK, left))
            if not data:
                break
            engine.update(data)
            self._emit(frame(b"C", data))
            left -= len(data)
        try:
            _check_unchanged(fd, entry, entry.size - left)
        except ChangedError:
            self._emit(frame(b"X"))
            raise
        self._emit(frame(b"E", engine.digest()))
        return engine.digest()

    def _flush(self) -> None:
        if self._batch:
            self._emit(b"".join([FRAME.pack(b"F", self._waiting), *self._batch]))
            self._batch, self._waiting = [], 0

    def _row(self, index: int, error: OSError) -> Tuple[str, str]:
        path = os.fsdecode(self._entries[index].path)
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return path, "vanished while the folder was sent"
        return path, "cannot be read: %s" % error.strerror


def _check_unchanged(fd: int, entry: Entry, count: int) -> None:
    info = os.fstat(fd)
    now = (info.st_mode & ~0o7000, info.st_size, info.st_mtime_ns)
    if count != entry.size or now != (stat.S_IFREG | entry.mode, entry.size, entry.mtime):
        raise ChangedError
