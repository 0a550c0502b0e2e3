"""The wire format of a copy: frames, JSON in frames, and compressed payloads.

Every frame is a kind (one byte), a length and a payload. The client speaks first::

    push   → H hello [M manifest]      ← S same? | V view, O owned
           → P plan, then F (a batch of small files) or B C… E (a large one; X gives it up), then Z finish
           ← R row (a path and why), A abort (full disk), D done (own tree digest)
    pull   → H hello                   ← M listing, R rows
           → Q wanted                  ← G digests, then F or B C… E, R rows, D done
    either ← ! refused: nothing more follows
"""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Iterator, Tuple

CHUNK = 1 << 20
VERSION = 1
NONE = b""
FRAME = struct.Struct(">cI")
SMALL = struct.Struct(">IHqI16s")  # index, mode, mtime, size, digest; the content follows
BEGIN = struct.Struct(">IHqQ")  # index, mode, mtime, size
_LIMIT = 1 << 30
_FRAMES_AHEAD = 4


class RefusedError(Exception):
    """The request as a whole cannot be served; nothing was changed by it."""


class GoneError(Exception):
    """The other end is gone."""


def frame(kind: bytes, payload: bytes = NONE) -> bytes:
    """One frame."""
    return FRAME.pack(kind, len(payload)) + payload


def message(kind: bytes, value: Any) -> bytes:
    """One frame holding JSON."""
    return frame(kind, json.dumps(value).encode())


def read_frame(source: BinaryIO) -> Tuple[bytes, bytes]:
    """The next frame; ``(b"", b"")`` at a clean end, GoneError inside one."""
    head = source.read(5)
    if not head:
        return NONE, NONE
    if len(head) == 5:
        kind, length = FRAME.unpack(head)
        if length > _LIMIT:
            raise RefusedError("the other end speaks another protocol")
        payload = source.read(length) if length else NONE
        if len(payload) == length:
            return kind, payload
    raise GoneError


def read_ahead(source: BinaryIO) -> Iterator[Tuple[bytes, bytes]]:
    """Frames up to the end of a stream, read by a thread while the caller writes what it has."""
    import queue
    import threading

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


def pack(raw: bytes) -> bytes:
    """Compress, fast."""
    import zlib

    return zlib.compress(raw, 1)


def unpack(data: bytes) -> bytes:
    """Decompress, within a bound."""
    import zlib

    engine = zlib.decompressobj()
    raw = engine.decompress(data, _LIMIT)
    if engine.unconsumed_tail:
        raise RefusedError("a manifest larger than this version takes")
    return raw
