"""How spec speaks: user text made safe to print, and "did you mean" hints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["closest", "counted", "did_you_mean", "join_or", "printable", "quoted"]

_LONGEST = 60


def printable(text: str) -> str:
    """``text`` on one line, with control and direction characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str) -> str:
    """User text inside a message: printable, in double quotes, shortened when long."""
    shown = printable(text)
    if len(shown) > _LONGEST:
        shown = shown[: _LONGEST - 1] + "…"
    return f'"{shown}"'


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like ``word``, or ``None`` when none is near.

    >>> closest("acelerators", ["accelerators", "cpus"])
    'accelerators'
    """
    import difflib  # noqa: PLC0415 - start-up cost; only a mistake needs it

    by_folded = {name.casefold(): name for name in sorted(known)}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean "accelerators"?``, or nothing when no known word is near."""
    near = closest(word, known)
    return "" if near is None else f"; did you mean {quoted(near)}?"


def join_or(words: Sequence[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``.

    >>> join_or(["a", "b", "c"])
    'a, b or c'
    """
    if len(words) <= 1:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"


def counted(number: int, noun: str) -> str:
    """``1 mistake``, ``2 mistakes``."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"
