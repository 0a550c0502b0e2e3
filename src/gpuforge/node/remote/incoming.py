"""The receiving end of a stream of files, and what else is made in a tree; refusals in words."""

from __future__ import annotations

import contextlib
import errno
import os
from _blake2 import blake2b

from .entries import DIGEST_BYTES, Entry
from .tree import FOLDER
from .wire import BEGIN, NONE, SMALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Tuple

    from .tree import Tree

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DAMAGED = "its content arrived damaged"
_BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FullError(Exception):
    """The disk took no more; carries the row that says so."""


class Incoming:
    """Writes the files of a stream: temporary name in the target folder, digest checked, then renamed.

    ``done`` maps an entry's index to what is on this disk now, digest included.
    """

    def __init__(self, tree: Tree, entries: List[Entry], token: str, umask: int = 0) -> None:
        self._tree, self._entries, self._umask = tree, entries, umask
        self._temporary = temporary_name(token)
        self._index, self._fd, self._folder, self._name = -1, -1, -1, NONE
        self._engine = blake2b(digest_size=DIGEST_BYTES)
        self._head = (0, 0, 0)
        self.done: Dict[int, Entry] = {}

    def take(self, kind: bytes, payload: bytes) -> List[Tuple[str, str]]:
        """Handle one frame; a row comes back for each file that cannot be written.

        Raises:
            FullError: The disk is full; what was half written is gone again.
        """
        if kind == b"F":
            return self._take_batch(memoryview(payload))
        try:
            if kind == b"B":
                index, mode, mtime, size = BEGIN.unpack(payload)
                self._head, self._engine = (mode, size, mtime), blake2b(digest_size=DIGEST_BYTES)
                self._create(index, mode)
            elif kind == b"C":
                self._chunk(payload)
            elif kind == b"E":
                self._end(payload)
            else:
                self.discard()
        except OSError as error:
            return [self._failed(error)]
        return []

    def _take_batch(self, view: memoryview) -> List[Tuple[str, str]]:
        # written out, not in steps: this loop is most of what a copy of many small files costs a node
        rows, at, last = [], 0, None
        while at < len(view):
            index, mode, mtime, size, digest = SMALL.unpack_from(view, at)
            data = view[at + SMALL.size : at + SMALL.size + size]
            at += SMALL.size + size
            entry, self._index = self._entries[index], index
            raw = blake2b(data, digest_size=DIGEST_BYTES).digest()
            if raw != digest:
                rows.append(self._failed(OSError(errno.EBADMSG, _DAMAGED)))
                continue
            try:
                above, _, name = entry[0].rpartition(b"/")
                if above != last:
                    self._folder, last = self._tree.folder(above), above
                self._fd = fd = os.open(self._temporary, _WRITE, mode, dir_fd=self._folder)
                write_all(fd, data)
                self._settle(name, mode, mtime)
                self.done[index] = Entry(entry[0], b"f", mode, size, mtime, raw.hex().encode())
            except OSError as error:
                rows.append(self._failed(error))
        return rows

    def _failed(self, error: OSError) -> Tuple[str, str]:
        self.discard()
        return failed_row(self._tree, self._entries[self._index], error)

    def discard(self) -> None:
        """Give the file in flight up."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder)

    def _create(self, index: int, mode: int) -> None:
        self._index = index
        # stays open until the file is finished: nothing else asks the tree meanwhile
        self._folder, self._name = self._tree.place(self._entries[index].path)
        self._fd = os.open(self._temporary, _WRITE, mode, dir_fd=self._folder)

    def _chunk(self, data: bytes) -> None:
        if self._fd >= 0:
            self._engine.update(data)
            write_all(self._fd, memoryview(data))

    def _end(self, digest: bytes) -> None:
        if self._fd >= 0:
            mode, size, mtime = self._head
            self._finish(mode, size, mtime, self._engine.digest(), digest)

    def _finish(self, mode: int, size: int, mtime: int, digest: bytes, expected: bytes) -> None:
        if digest != expected:
            raise OSError(errno.EBADMSG, _DAMAGED)
        self._settle(self._name, mode, mtime)
        path = self._entries[self._index].path
        self.done[self._index] = Entry(path, b"f", mode, size, mtime, digest.hex().encode())

    def _settle(self, name: bytes, mode: int, mtime: int) -> None:
        if self._umask:
            os.fchmod(self._fd, mode)
        os.utime(self._fd, ns=(mtime, mtime))
        os.close(self._fd)
        self._fd = -1
        try:
            os.rename(self._temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            os.unlink(self._temporary, dir_fd=self._folder)
            raise


def write_all(fd: int, data: memoryview) -> None:
    """All of it: a nearly full disk takes a part first."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])


def temporary_name(token: str) -> bytes:
    """The one temporary name a session uses, in whichever folder its file in flight goes."""
    return b".gpuforge-%s.part" % token.encode()


def sweep(tree: Tree, token: str, paths: Iterable[bytes]) -> None:
    """Remove the one temporary file that a killed session may have left beside one of these paths."""
    name = temporary_name(token)
    for folder in {path.rpartition(b"/")[0] for path in paths}:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=tree.folder(folder))


def failed_row(tree: Tree, entry: Entry, error: OSError) -> Tuple[str, str]:
    """Why this entry cannot be written, in words; FullError where no other could be either."""
    path = os.fsdecode(entry.path)
    if error.errno in _FULL:
        free = os.fstatvfs(tree.root)
        room = size_text(free.f_bavail * free.f_frsize)
        raise FullError((path, "the disk is full: %s free, %s needed" % (room, size_text(entry.size))))
    if error.errno in _BAD_NAME:
        return path, "a name the other side cannot hold (%s)" % error.strerror
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return path, "a file or symlink stands where its folder must go; symlinks are never followed"
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
        return path, "a folder with files of its own stands in its place"
    return path, "%s" % (error.strerror or error)


def make(tree: Tree, entry: Entry) -> None:
    """Make a folder, a link, or an existing file's mode and time, as ``entry`` says."""
    fd, name = tree.place(entry.path)
    if entry.kind == b"d":
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, entry.mode, dir_fd=fd)
        inner = os.open(name, FOLDER, dir_fd=fd)
        try:
            os.fchmod(inner, entry.mode)
        finally:
            os.close(inner)
    elif entry.kind == b"l":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
        os.symlink(entry.extra, name, dir_fd=fd)
    else:
        inner = tree.open_file(entry.path)
        try:
            os.fchmod(inner, entry.mode)
            os.utime(inner, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(inner)


def size_text(count: float) -> str:
    """A size for a person."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return "%d B" % count if unit == "B" else "%.1f %s" % (count, unit)
