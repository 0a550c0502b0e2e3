"""What was delivered, kept beside the data: the records of finished and begun copies."""

from __future__ import annotations

import json
import os

from .entries import decode
from .wire import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .entries import Entry


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
