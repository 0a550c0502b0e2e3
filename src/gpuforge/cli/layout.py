"""Lines that fit: columns, wrapped lists and cut tables, as pure functions of a width."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["fit", "labelled", "plain", "table", "three_columns"]

LABEL_WIDTH = 13
_INDENT = " " * (2 + LABEL_WIDTH + 1)
# what stands in for a sign where the stream's encoding has none
_ASCII = str.maketrans(
    {"✓": "ok", "✗": "x", "▶": ">", "·": "-", "×": "x", "–": "-", "—": "-", "…": "...", "━": "=", "─": "-"}
)


def plain(text: str, encoding: str) -> str:
    """``text`` as a stream of that encoding can hold it; nothing is lost silently.

    >>> plain("✓ 2 × L4", "ascii"), plain("✓ 2 × L4", "utf-8")
    ('ok 2 x L4', '✓ 2 × L4')
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        signs = text.translate(_ASCII) if "utf" not in encoding.lower() else text
        return signs.encode(encoding, "backslashreplace").decode(encoding)
    return text


def fit(text: str, width: int | None) -> str:
    """Cut to ``width`` where there is one.

    >>> fit("0123456789", 6), fit("0123456789", None)
    ('01234…', '0123456789')
    """
    return text if width is None or len(text) <= width else f"{text[: max(0, width - 1)]}…"


def labelled(label: str, parts: Sequence[str], width: int | None, *, joint: str = " · ") -> list[str]:
    """``  label         one · two · three``, wrapped between parts and never within one."""
    lines: list[str] = []
    line = f"  {label:<{LABEL_WIDTH}} "
    is_empty = True
    for part in parts:
        longer = f"{line}{part}" if is_empty else f"{line}{joint}{part}"
        if is_empty or width is None or len(longer) <= width:
            line = longer
        else:
            lines.append(line)
            line = f"{_INDENT}{part}"
        is_empty = False
    return [*lines, line.rstrip()]


def three_columns(rows: Iterable[tuple[str, str, str]], width: int | None) -> list[str]:
    """Label, text and note; where a line would be too long, notes go below their texts."""
    rows = list(rows)
    middle = max((len(text) for _, text, note in rows if note), default=0)
    longest = max((len(note) for _, _, note in rows), default=0)
    first = max(LABEL_WIDTH, *(len(label) for label, _, _ in rows))
    fits = width is None or first + 3 + middle + 3 + longest <= width
    lines: list[str] = []
    for label, text, note in rows:
        head = f"  {label:<{first}} {text}"
        if fits and note:
            lines.append(f"{head}{' ' * (middle - len(text) + 3)}{note}")
        else:
            lines += [head.rstrip(), *([f"{'':<{first + 3}}{note}"] if note else [])]
    return lines


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], width: int | None) -> list[str]:
    """Aligned columns, each line cut to ``width``; the header is the first line."""
    lines = [tuple(headers), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    return [
        fit("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip(), width)
        for line in lines
    ]
