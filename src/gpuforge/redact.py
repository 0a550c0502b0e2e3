"""Secrets: values that never show, and the filter every output passes through."""

from __future__ import annotations

import re
import threading
from typing import final

__all__ = ["Redactor", "Secret", "StreamRedactor", "redact", "register"]

_MASK = "***"
# shorter values would blank out ordinary words
_SHORTEST = 4


@final
class Secret:
    """A text that does not show in ``repr``, ``str`` or a traceback; ``reveal()`` is the one way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        register(value)

    def reveal(self) -> str:
        """The value itself; call it only where the value leaves on purpose."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Redactor:
    """Replaces every registered value in a text, longest first."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._lock = threading.Lock()

    def register(self, value: str) -> None:
        """Remember ``value``; each of its lines too, since outputs are line-wise."""
        parts = {value, *value.splitlines()}
        with self._lock:
            self._values.update(part for part in parts if len(part) >= _SHORTEST)

    def redact(self, text: str) -> str:
        """``text`` with every registered value masked."""
        for value in self.values():
            if value in text:
                text = text.replace(value, _MASK)
        return text

    def values(self) -> tuple[str, ...]:
        """What is registered, longest first."""
        with self._lock:
            return tuple(sorted(self._values, key=len, reverse=True))


_redactor = Redactor()


class StreamRedactor:
    """Bytes that arrive in pieces, masked across their borders; of one stream.

    From the left, the longest value that fits is masked. An end that may be the beginning of a value (or of
    a longer one) is held back until the next piece decides it; never more than the longest value.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or _redactor
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What is certain by now."""
        return self._masked(data, final=False)

    def end(self) -> bytes:
        """What was held back, once nothing follows."""
        return self._masked(b"", final=True)

    def _masked(self, data: bytes, *, final: bool) -> bytes:
        values = [value.encode("utf-8", "surrogateescape") for value in self._redactor.values()]
        text, self._held = self._held + data, b""
        if not values:
            return text
        certain: list[bytes] = []
        done = 0
        for match in re.finditer(b"|".join(map(re.escape, values)), text):
            if not final and _first_open(text, values, done, match.start() + 1) is not None:
                break
            certain += [text[done : match.start()], _MASK.encode()]
            done = match.end()
        cut = None if final else _first_open(text, values, done, len(text))
        if cut is not None:
            self._held = text[cut:]
        return b"".join([*certain, text[done:cut]])


def _first_open(text: bytes, values: list[bytes], start: int, stop: int) -> int | None:
    """The first place in a range from which the rest of ``text`` may go on to be one of ``values``."""
    for place in range(max(start, len(text) - max(map(len, values)) + 1), stop):
        rest = text[place:]
        if any(len(value) > len(rest) and value.startswith(rest) for value in values):
            return place
    return None


def register(value: str) -> None:
    """Register a value with the process's redactor."""
    _redactor.register(value)


def redact(text: str) -> str:
    """Mask every registered value in ``text``."""
    return _redactor.redact(text)
