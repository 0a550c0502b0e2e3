"""Stock-outs met in the last minutes, in one small file that every command shares.

The file only saves a few vain calls: one that is unreadable counts as empty, and an entry ages out by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gpuforge.models.clock import rfc3339

if TYPE_CHECKING:
    from gpuforge.models.clock import Clock

__all__ = ["Stockouts"]

_REMEMBERED = timedelta(minutes=5)


class Stockouts:
    """What was out of stock, and when."""

    def __init__(self, path: Path, clock: Clock, *, remembered: timedelta = _REMEMBERED) -> None:
        self._path = path
        self._clock = clock
        self._remembered = remembered

    def known(self) -> dict[str, datetime]:
        """``Offering.key`` to the time it was met out of stock; only the last minutes."""
        now = self._clock.now()
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return {}
        return {
            key: met
            for key, met in _parse(text).items()
            # an entry from the future was written under a clock that has been set back since
            if timedelta(0) <= now - met < self._remembered
        }

    def remember(self, key: str) -> None:
        """Note that an offering is out of stock now. A disk that cannot take the note is not an error.

        Args:
            key: Its ``Offering.key``.
        """
        from filelock import FileLock  # noqa: PLC0415 - start-up cost: most plans only read

        with contextlib.suppress(OSError):  # in the middle of a failover, a lost note must not end it
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.lock"):
                met = {**self.known(), key: self._clock.now()}
                self._replace(json.dumps({name: rfc3339(met[name]) for name in sorted(met)}, indent=1))

    def _replace(self, text: str) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f"{self._path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)


def _parse(text: str) -> dict[str, datetime]:
    try:
        entries = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(entries, dict):
        return {}
    found = {}
    for key, value in entries.items():
        try:
            met = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            continue
        found[key] = met if met.tzinfo is not None else met.replace(tzinfo=UTC)
    return found
