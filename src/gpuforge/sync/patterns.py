"""The patterns of an ignore file, with the meaning git gives them.

Own code on purpose: pathspec, the library for it, lets a pattern that matches a folder also speak for what
lies below (``build`` then ``!src`` brings ``src/build/x`` back; git leaves it out), and takes 70 ms to load.
Here, as in git, each path is judged by itself, the last matching pattern wins, and the caller does not enter
a folder that is left out. A property test holds this module against git.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Patterns", "parse_pattern"]

_NAMED = {
    b"alnum": string.ascii_letters + string.digits,
    b"alpha": string.ascii_letters,
    b"blank": " \t",
    b"cntrl": "".join(map(chr, [*range(32), 127])),
    b"digit": string.digits,
    b"graph": string.ascii_letters + string.digits + string.punctuation,
    b"lower": string.ascii_lowercase,
    b"print": string.ascii_letters + string.digits + string.punctuation + " ",
    b"punct": string.punctuation,
    b"space": string.whitespace,
    b"upper": string.ascii_uppercase,
    b"xdigit": string.hexdigits,
}


_WILD = re.compile(rb"[*?\[\\]")
_NAMED_SET = re.compile(rb"\[:([^\]]*):\]")
_DASH, _BACKSLASH, _SLASH = b"-\\/"


class _Pattern(NamedTuple):
    regex: re.Pattern[bytes]
    excludes: bool
    folders_only: bool
    whole_path: bool


class Patterns:
    """An ignore file, line by line.

    >>> rules = Patterns([b"*.log", b"!keep.log", b"/data/"])
    >>> rules.ignores(b"a/x.log"), rules.ignores(b"a/keep.log"), rules.ignores(b"data", is_folder=True)
    (True, False, True)
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        found = [parse_pattern(line) for line in lines]
        self._patterns = [pattern for pattern in reversed(found) if pattern is not None]

    def ignores(self, path: bytes, *, is_folder: bool = False) -> bool:
        """Whether this one path is left out; its folders are judged by calls of their own."""
        name = path.rpartition(b"/")[2]
        for pattern in self._patterns:
            if pattern.folders_only and not is_folder:
                continue
            if pattern.regex.fullmatch(path if pattern.whole_path else name):
                return pattern.excludes
        return False


def parse_pattern(line: bytes) -> _Pattern | None:
    """One line; nothing for blanks, comments, and patterns that can never match."""
    text = re.sub(rb"(?<!\\)[ ]+$", b"", line.rstrip(b"\r\n"))
    if not text or text.startswith(b"#"):
        return None
    excludes = not text.startswith(b"!")
    text = text if excludes else text[1:]
    folders_only = text.endswith(b"/")
    text = text[:-1] if folders_only else text
    whole_path = b"/" in text
    source = _translate(text.removeprefix(b"/"), whole_path=whole_path)
    if source is None or not text:
        return None
    return _Pattern(re.compile(source, re.DOTALL), excludes, folders_only, whole_path)


def _translate(text: bytes, *, whole_path: bool) -> bytes | None:
    out, at = b"", 0
    while at < len(text):
        if text[at : at + 1] == b"*":
            piece, at = _stars(text, at, whole_path=whole_path)
        elif text[at : at + 1] == b"?":
            piece, at = b"[^/]", at + 1
        elif text[at : at + 1] == b"[":
            found = _character_class(text, at + 1)
            if found is None:
                return None
            piece, at = found
        else:
            at += text[at : at + 1] == b"\\"
            if at == len(text):
                return None
            piece, at = re.escape(text[at : at + 1]), at + 1
        out += piece
    return out


def _stars(text: bytes, at: int, *, whole_path: bool) -> tuple[bytes, int]:
    end = at
    while text[end : end + 1] == b"*":
        end += 1
    # git compares plain text before the first wildcard by itself, so what follows it begins a part, too
    begins = text[at - 1 : at] == b"/" or not _WILD.search(text, 0, at)
    is_part = end - at >= 2 and begins and text[end : end + 1] in (b"", b"/")
    if not (whole_path and is_part):
        return b"[^/]*", end
    if end == len(text):
        return b".*", end
    return b"(?:.*/)?", end + 1


def _character_class(text: bytes, at: int) -> tuple[bytes, int] | None:
    """The set that begins at ``at``, as a regex, and where it ends; nothing where it never does."""
    negated = text[at : at + 1] in (b"!", b"^")
    at += negated
    chosen: set[int] = set()
    begin, previous = at, 0  # the start of a range, 0 where none can begin
    while at < len(text) and (at == begin or text[at : at + 1] != b"]"):
        named = _NAMED_SET.match(text, at)
        if named is not None:
            if named[1] not in _NAMED:
                return None
            chosen |= set(_NAMED[named[1]].encode())
            previous, at = 0, named.end()
            continue
        is_range = text[at] == _DASH and previous and text[at + 1 : at + 2] not in (b"", b"]")
        at += bool(is_range)
        at += text[at] == _BACKSLASH
        if at == len(text):
            return None
        if is_range:
            chosen |= set(range(previous, text[at] + 1))
        else:
            chosen.add(text[at])
        previous, at = (0 if is_range else text[at]), at + 1
    if at >= len(text):
        return None
    chosen = (set(range(256)) - chosen if negated else chosen) - {_SLASH}
    members = b"".join(b"\\x%02x" % value for value in sorted(chosen))
    return (b"[" + members + b"]" if members else b"(?!)"), at + 1
