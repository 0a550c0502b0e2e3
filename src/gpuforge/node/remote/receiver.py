"""The node's end of a copy: takes pushes and serves pulls over one pair of pipes.

A program of its own on the node, which needs nothing of the agent; :mod:`gpuforge.sync` imports the wire
format, the safe tree and both stream ends from here, so each exists once.

Every frame is a kind (one byte), a length and a payload. The client speaks first::

    push   → H hello [M manifest]      ← S same? | V view, O owned
           → P plan, then F (a batch of small files) or B C… E (a large one; X gives it up), then Z finish
           ← R row (a path and why), A abort (full disk), D done (own tree digest)
    pull   → H hello                   ← M listing, R rows
           → Q wanted                  ← G digests, then F or B C… E, R rows, D done
    either ← ! refused: nothing more follows

No path is ever followed through a symlink: folders are opened one by one without following, below the
root, which itself lies below the home unless the client says otherwise.
"""

# names are bytes and folders are descriptors here
from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import json
import os
import queue
import stat
import struct
import sys
import threading
import time
import zlib
from _blake2 import blake2b  # what hashlib gives, without loading OpenSSL
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

CHUNK = 1 << 20
VERSION = 1
DIGEST_BYTES = 16
LOCK_SECONDS = 10.0  # the receiver of a client that was just killed leaves by itself
NONE = b""

_FRAME = struct.Struct(">cI")
_SMALL = struct.Struct(">IHqI16s")  # index, mode, mtime, size, digest; the content follows
_BEGIN = struct.Struct(">IHqQ")  # index, mode, mtime, size
_LIMIT = 1 << 30
_SMALL_BYTES = 256 * 1024
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDERS_OPEN = 128
_FRAMES_AHEAD = 4
_DAMAGED = "its content arrived damaged"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_FULL = (errno.ENOSPC, errno.EDQUOT)


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


class RefusedError(Exception):
    """The request as a whole cannot be served; nothing was changed by it."""


class GoneError(Exception):
    """The other end is gone."""


class FullError(Exception):
    """The disk took no more; carries the row that says so."""


class ChangedError(Exception):
    """The file changed while it was read."""


# --- values -----------------------------------------------------------------------------------------


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


def pack(raw: bytes) -> bytes:
    """Compress, fast."""
    return zlib.compress(raw, 1)


def unpack(data: bytes) -> bytes:
    """Decompress, within a bound."""
    engine = zlib.decompressobj()
    raw = engine.decompress(data, _LIMIT)
    if engine.unconsumed_tail:
        raise RefusedError("a manifest larger than this version takes")
    return raw


def same(one: Optional[Entry], two: Entry) -> bool:
    """Equal as far as a stat can tell."""
    return one is not None and one[:5] == two[:5] and (one.kind != b"l" or one.extra == two.extra)


def tree_digest(entries: Iterable[Entry]) -> str:
    """One digest over names, kinds, modes and contents; order does not matter, times do not count."""
    rows = sorted([(e[0], b"%s\0%s%o\0%s\0" % (e[0], e[1], e[2], e[5])) for e in entries])
    return blake2b(b"".join([row for _, row in rows]), digest_size=32).hexdigest()


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


def size_text(count: float) -> str:
    """A size for a person."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return "%d B" % count if unit == "B" else "%.1f %s" % (count, unit)


# --- frames -----------------------------------------------------------------------------------------


def frame(kind: bytes, payload: bytes = NONE) -> bytes:
    """One frame."""
    return _FRAME.pack(kind, len(payload)) + payload


def message(kind: bytes, value: Any) -> bytes:
    """One frame holding JSON."""
    return frame(kind, json.dumps(value).encode())


def read_frame(source: BinaryIO) -> Tuple[bytes, bytes]:
    """The next frame; ``(b"", b"")`` at a clean end, GoneError inside one."""
    head = source.read(5)
    if not head:
        return NONE, NONE
    if len(head) == 5:
        kind, length = _FRAME.unpack(head)
        if length > _LIMIT:
            raise RefusedError("the other end speaks another protocol")
        payload = source.read(length) if length else NONE
        if len(payload) == length:
            return kind, payload
    raise GoneError


def read_ahead(source: BinaryIO) -> Iterator[Tuple[bytes, bytes]]:
    """Frames up to the end of a stream, read by a thread while the caller writes what it has."""
    frames: "queue.Queue[Any]" = queue.Queue(_FRAMES_AHEAD)

    def fill() -> None:
        try:
            while True:
                kind, payload = read_frame(source)
                frames.put((kind, payload))
                if kind in (b"Z", NONE):
                    return
        except (GoneError, RefusedError, OSError, ValueError) as error:
            frames.put(error)

    reader = threading.Thread(target=fill, daemon=True)
    reader.start()
    while True:
        item = frames.get()
        if isinstance(item, Exception):
            raise GoneError from item
        yield item
        if item[0] in (b"Z", NONE):
            reader.join()
            return


# --- a tree that is never left ----------------------------------------------------------------------


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
        self._open[path] = fd = os.open(name, _FOLDER, dir_fd=self.folder(above))
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


# --- the two ends of the stream ---------------------------------------------------------------------


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
                self._batch += (_SMALL.pack(index, entry.mode, entry.mtime, entry.size, raw), data)
                self._waiting += entry.size + _SMALL.size
                if self._waiting >= CHUNK:
                    self._flush()
            else:
                self._flush()
                raw = self._send_large(fd, index, entry)
        finally:
            os.close(fd)
        self.done[index] = Entry(entry[0], entry[1], entry[2], entry[3], entry[4], raw.hex().encode())

    def _send_large(self, fd: int, index: int, entry: Entry) -> bytes:
        self._emit(frame(b"B", _BEGIN.pack(index, entry.mode, entry.mtime, entry.size)))
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
            self._emit(b"".join([_FRAME.pack(b"F", self._waiting), *self._batch]))
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
                index, mode, mtime, size = _BEGIN.unpack(payload)
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
            index, mode, mtime, size, digest = _SMALL.unpack_from(view, at)
            data = view[at + _SMALL.size : at + _SMALL.size + size]
            at += _SMALL.size + size
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
        inner = os.open(name, _FOLDER, dir_fd=fd)
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


# --- what was delivered -----------------------------------------------------------------------------


class Record:
    """What a finished or begun copy left behind, kept beside the data; read as far as it is needed."""

    def __init__(self, head: Dict[str, Any], raw: bytes = NONE) -> None:
        self.head, self.raw = head, raw
        self._entries: Optional[Dict[bytes, Entry]] = None

    @property
    def entries(self) -> Dict[bytes, Entry]:
        """The entries by path, digests included."""
        if self._entries is None:
            self._entries = {entry[0]: entry for entry in decode(self.raw)}
        return self._entries


def load_record(path: str) -> Record:
    """A record, or an empty one where there is none or a damaged one."""
    try:
        with open(path, "rb") as source:
            head = json.loads(source.readline())
            raw = source.read()
        return Record(head, raw) if head["size"] == len(raw) else Record({})
    except (OSError, ValueError, KeyError, TypeError):
        return Record({})


def save_record(path: str, head: Dict[str, Any], raw: bytes) -> None:
    """Replace a record, whole or not at all; ``raw`` is encoded entries."""
    temporary = "%s.%s.tmp" % (path, os.urandom(4).hex())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as target:
            target.write(json.dumps({**head, "size": len(raw)}).encode() + b"\n" + raw)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def state_digest(raw: bytes) -> str:
    """The digest by which two manifests are compared in one round trip."""
    return blake2b(raw, digest_size=32).hexdigest()


# --- the node's side --------------------------------------------------------------------------------


class Receiver:
    """Serves one client over two streams until it leaves."""

    def __init__(self, source: BinaryIO, target: BinaryIO, home: str) -> None:
        self._source, self._target = source, target
        self._home = os.path.realpath(home)
        self._records = os.path.join(self._home, ".gpuforge", "sync")

    def serve(self) -> int:
        """Requests until the end of input; the exit code."""
        try:
            while True:
                kind, payload = read_frame(self._source)
                if not kind:
                    return 0
                head = self._hello(kind, payload)
                if head["op"] == "push":
                    self._push(head)
                else:
                    self._pull(head)
        except RefusedError as error:
            self._say(message(b"!", {"reason": str(error)}))
            return 1
        except (GoneError, BrokenPipeError):
            return 2
        except OSError as error:
            self._say(message(b"!", {"reason": "%s: %s" % (error.filename or "the machine", error.strerror)}))
            return 1

    def _hello(self, kind: bytes, payload: bytes) -> Dict[str, Any]:
        head: Dict[str, Any] = json.loads(payload) if kind == b"H" else {}
        if head.get("version") != VERSION or head.get("op") not in ("push", "pull"):
            raise RefusedError("the client speaks another version of the protocol")
        return head

    def _say(self, data: bytes) -> None:
        self._target.write(data)
        self._target.flush()

    def _expect(self, wanted: bytes) -> bytes:
        kind, payload = read_frame(self._source)
        if kind != wanted:
            raise RefusedError("unexpected frame") if kind else GoneError
        return payload

    # where

    def _parts(self, root: str, *, outside: bool) -> Tuple[str, List[str]]:
        path = os.path.normpath(os.path.join(self._home, root[2:] if root[:2] == "~/" else root))
        if root == "~":
            path = self._home
        if path == self._home or path.startswith(self._home.rstrip("/") + "/"):
            base, parts = self._home, [p for p in path[len(self._home) :].split("/") if p]
            if parts[:1] == [".gpuforge"]:
                raise RefusedError("%s holds gpuforge's own files" % root)
            return base, parts
        if not outside:
            raise RefusedError(
                "%s lies outside the machine's home; isolation level 0 keeps copies below it" % root
            )
        return "/", [p for p in path.split("/") if p]

    def _root(self, head: Dict[str, Any], *, create: bool) -> Tuple[Tree, str]:
        base, parts = self._parts(head["root"], outside=bool(head.get("outside")))
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            if create:
                with contextlib.suppress(FileExistsError):
                    self._try(head, os.mkdir, part, 0o755, dir_fd=fd)
            below = self._try(head, os.open, part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        return Tree(fd), os.path.join(base, *parts)

    def _try(self, head: Dict[str, Any], call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except FileExistsError:
            raise
        except OSError as error:
            why = "%s" % error.strerror
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                why = "a file or symlink stands in the way; symlinks are never followed"
            raise RefusedError("%s: %r: %s" % (head["root"], args[0], why)) from error

    # push

    def _push(self, head: Dict[str, Any]) -> None:
        tree, where = self._root(head, create=True)
        try:
            Push(self._source, self._say, self._expect, tree, self._book(head, where)).run(head)
        finally:
            tree.close()

    def _book(self, head: Dict[str, Any], where: str) -> str:
        os.makedirs(self._records, mode=0o700, exist_ok=True)
        name = "%s\0%s" % (where, head.get("only", ""))
        key = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return os.path.join(self._records, key)

    # pull

    def _pull(self, head: Dict[str, Any]) -> None:
        tree, _ = self._root(head, create=False)
        try:
            self._serve_pull(tree, head)
        finally:
            tree.close()

    def _serve_pull(self, tree: Tree, head: Dict[str, Any]) -> None:
        found: Dict[bytes, Entry] = {}
        rows = []
        for pattern in head["patterns"]:
            matches = list(expand(tree, os.fsencode(pattern)))
            if not matches:
                rows.append((pattern, "nothing on the machine matches"))
            for path in matches:
                add_above(tree, found, path)
                found.update((e.path, e) for e in tree.walk(path, os.fsencode(head.get("skip", ""))))
        entries = [found[path] for path in sorted(found)]
        for row in rows:
            self._say(message(b"R", row))
        self._say(frame(b"M", pack(encode(entries))))
        wanted = json.loads(self._expect(b"Q"))
        digests: Dict[int, str] = {}
        if "digest" in wanted:
            digests = {i: digest_or_none(tree, entries[i].path) for i in wanted["digest"]}
            self._say(message(b"G", digests))
            wanted = json.loads(self._expect(b"Q"))
        sender = Outgoing(tree, entries, self._target.write)
        for row in sender.send(wanted["fetch"]):
            self._say(message(b"R", row))
        proven = [entries[i]._replace(extra=digests[i].encode()) for i in wanted["same"]]
        proven += sender.done.values()
        self._say(message(b"D", {"tree": tree_digest(proven)}))


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


def digest_or_none(tree: Tree, path: bytes) -> str:
    """A file's digest in hex, empty where it cannot be read."""
    try:
        return tree.digest(path).decode()
    except OSError:
        return ""


def add_above(tree: Tree, found: Dict[bytes, Entry], path: bytes) -> None:
    """The folders above a match: they must exist on the other side too."""
    above = path.rpartition(b"/")[0]
    while above and above not in found:
        found.update(tree.look([above]))
        above = above.rpartition(b"/")[0]


def expand(tree: Tree, pattern: bytes) -> Iterator[bytes]:
    """Paths below the root that match; ``*``, ``?``, ``[…]`` within a name, ``**`` across folders."""
    pattern = pattern.rstrip(b"/")
    check_name(pattern)
    yield from _expand(tree, NONE, pattern.split(b"/"))


def _expand(tree: Tree, above: bytes, parts: List[bytes]) -> Iterator[bytes]:
    if not parts:
        yield above
        return
    prefix = above + b"/" if above else NONE
    if not any(mark in parts[0] for mark in (b"*", b"?", b"[")):
        if prefix + parts[0] in tree.look([prefix + parts[0]]):
            yield from _expand(tree, prefix + parts[0], parts[1:])
        return
    from fnmatch import fnmatchcase

    if parts[0] == b"**":
        yield from _expand(tree, above, parts[1:])
    try:
        names = sorted(os.fsencode(n) for n in os.listdir(tree.folder(above)))
    except OSError:
        return
    for name in names:
        if name.startswith(b".") and not parts[0].startswith(b"."):
            continue
        if parts[0] == b"**":
            yield from _expand(tree, prefix + name, parts)
        elif fnmatchcase(name, parts[0]):
            yield from _expand(tree, prefix + name, parts[1:])


def main() -> int:
    """Serve over stdin and stdout; the first byte out says that this program is there."""
    os.write(1, b"+")
    gc.disable()  # a short life, and many small values that never form cycles
    os.umask(0)  # modes are set as they were sent, at creation
    source = open(0, "rb", buffering=CHUNK, closefd=False)  # noqa: SIM115 - open until the process ends
    target = open(1, "wb", buffering=CHUNK, closefd=False)  # noqa: SIM115
    return Receiver(source, target, os.path.expanduser("~")).serve()


if __name__ == "__main__":
    sys.exit(main())
