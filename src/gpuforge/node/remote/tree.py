"""A tree that is never left: folders are opened one by one, without following, below its root."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from _blake2 import blake2b

from .entries import DIGEST_BYTES, decode, of_stat, same
from .wire import CHUNK, NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, Iterator, Tuple

    from .entries import Entry

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDERS_OPEN = 128


class Tree:
    """A folder and what lies below it, reached by descriptors, symlinks never followed."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._open: Dict[bytes, int] = {}

    def folder(self, path: bytes) -> int:
        """A descriptor of the folder ``path``; owned by this object, good until the next call."""
        if not path:
            return self.root
        known = self._open.get(path)
        if known is not None:
            return known
        if len(self._open) >= _FOLDERS_OPEN:
            self.forget()
        above, _, name = path.rpartition(b"/")
        self._open[path] = fd = os.open(name, FOLDER, dir_fd=self.folder(above))
        return fd

    def place(self, path: bytes) -> Tuple[int, bytes]:
        """The descriptor of the folder that holds ``path``, and the last name."""
        above, _, name = path.rpartition(b"/")
        return self.folder(above), name

    def forget(self) -> None:
        """Close the cached descriptors: folders may have been replaced."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def close(self) -> None:
        """Close all."""
        self.forget()
        os.close(self.root)

    def look(self, paths: Iterable[bytes]) -> Dict[bytes, Entry]:
        """What is there now, of ``paths``; what is absent or behind a symlink is left out."""
        found: Dict[bytes, Entry] = {}
        absent = set()
        for path in paths:
            above = path.rpartition(b"/")[0]
            if above in absent:
                continue
            try:
                fd, name = self.place(path)
            except OSError:
                absent.add(above)
                continue
            with contextlib.suppress(OSError):
                found[path] = of_stat(path, os.stat(name, dir_fd=fd, follow_symlinks=False), fd)
        return found

    def holds(self, raw: bytes) -> bool:
        """Whether every entry is there and looks as encoded; no values are made, as this is the no-op."""
        parts = raw.split(b"\0")
        try:
            for at in range(0, len(parts) - 1, 3):
                path = parts[at + 1]
                fd, name = self.place(path)
                info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISREG(info.st_mode):
                    now = b"f%o %d %d" % (info.st_mode & 0o777, info.st_size, info.st_mtime_ns)
                    if now != parts[at]:
                        return False
                elif not same(of_stat(path, info, fd), decode(b"\0".join([*parts[at : at + 3], NONE]))[0]):
                    return False
        except OSError:
            return False
        return True

    def open_file(self, path: bytes) -> int:
        """A descriptor to read a regular file by (a FIFO in its place does not block)."""
        fd, name = self.place(path)
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=fd)

    def digest(self, path: bytes) -> bytes:
        """A file's digest in hex."""
        engine = blake2b(digest_size=DIGEST_BYTES)
        fd = self.open_file(path)
        try:
            while True:
                data = os.read(fd, CHUNK)
                if not data:
                    return engine.hexdigest().encode()
                engine.update(data)
        finally:
            os.close(fd)

    def remove(self, path: bytes) -> bool:
        """Remove a file, a link or an empty folder; a folder that still holds something stays."""
        try:
            fd, name = self.place(path)
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                self.forget()
                fd, name = self.place(path)
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        return True

    def walk(self, path: bytes, skip: bytes = NONE) -> Iterator[Entry]:
        """``path`` and everything below it; names that end in ``skip`` are left out."""
        entry = self.look([path]).get(path)
        if entry is None:
            return
        yield entry
        if entry.kind == b"d":
            for name in sorted(os.fsencode(n) for n in os.listdir(self.folder(path))):
                if not (skip and name.endswith(skip)):
                    yield from self.walk(path + b"/" + name, skip)


def digest_or_none(tree: Tree, path: bytes) -> str:
    """A file's digest in hex, empty where it cannot be read."""
    try:
        return tree.digest(path).decode()
    except OSError:
        return ""


def clashes(tree: Tree, pairs: Iterable[Tuple[str, str]]) -> Iterator[Tuple[str, str]]:
    """Rows for names that turned out to be one and the same file on this disk."""
    for one, two in pairs:
        with contextlib.suppress(OSError):
            infos = []
            for name in (one, two):
                fd, last = tree.place(os.fsencode(name))
                infos.append(os.stat(last, dir_fd=fd, follow_symlinks=False))
            if infos[0].st_ino == infos[1].st_ino:
                yield two, "a name the other side cannot hold: there it is the same as %r" % one
