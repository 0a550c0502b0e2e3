"""Secrets: values that never show, and the filter every output passes through."""

from __future__ import annotations

import threading
from typing import final

__all__ = ["Redactor", "Secret", "redact", "register"]

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
        with self._lock:
            values = sorted(self._values, key=len, reverse=True)
        for value in values:
            if value in text:
                text = text.replace(value, _MASK)
        return text


_redactor = Redactor()


def register(value: str) -> None:
    """Register a value with the process's redactor."""
    _redactor.register(value)


def redact(text: str) -> str:
    """Mask every registered value in ``text``."""
    return _redactor.redact(text)
