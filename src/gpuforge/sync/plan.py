"""What a copy has to do, decided from two listings: pure functions, nothing is read or written here."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.node.remote.entries import same

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gpuforge.node.remote.entries import Entry

__all__ = ["PullPlan", "PushPlan", "collisions", "doubtful", "plan_pull", "plan_push"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushPlan:
    """A push, as indices into the local entries and paths on the machine.

    Attributes:
        delete: Paths to remove first, deepest first.
        make: Folders, links, and files of which only mode or time differ.
        send: Files whose content must travel.
        kept: Rows of what was left alone on the machine on purpose.
        blocked: Rows of what cannot be delivered.
        left_out: Entries at or below what is blocked.
    """

    delete: tuple[bytes, ...] = ()
    make: tuple[int, ...] = ()
    send: tuple[int, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    blocked: tuple[tuple[str, str], ...] = ()
    left_out: frozenset[int] = frozenset()


def doubtful(entries: Sequence[Entry], view: Mapping[bytes, Entry]) -> list[int]:
    """Files that may be equal although a stat cannot tell: the other side sent a digest to settle it."""
    return [
        index
        for index, entry in enumerate(entries)
        if entry.kind == b"f" and (now := view.get(entry.path)) is not None and now.kind == b"f" and now.extra
    ]


def plan_push(entries: Sequence[Entry], view: Mapping[bytes, Entry], owned: Collection[bytes]) -> PushPlan:
    """Decide a push.

    Args:
        entries: The local side, parents before children; files of :func:`doubtful` carry their digest.
        view: What the machine has, of these paths and of those delivered before.
        owned: Paths that were delivered before and are unchanged since. Only these are ever deleted:
            what a job wrote stays (folders go only when empty, so they need not be owned).
    """
    delete: list[bytes] = []
    make: list[int] = []
    send: list[int] = []
    blocked: dict[bytes, str] = {}
    left_out: set[int] = set()
    for index, entry in enumerate(entries):
        now = view.get(entry.path)
        if _is_below(entry.path, blocked):
            left_out.add(index)
            continue
        if now is not None and now.kind != entry.kind and b"d" in (now.kind, entry.kind):
            if now.kind != b"d" and entry.path not in owned:
                blocked[entry.path] = _IN_THE_WAY
                left_out.add(index)
                continue
            delete.append(entry.path)
            now = None
        if entry.kind == b"f" and (now is None or now.kind != b"f" or not _is_equal(now, entry)):
            send.append(index)
        elif not same(now, entry):
            make.append(index)
    kept = _plan_deletions({entry.path for entry in entries}, view, owned, delete)
    return PushPlan(
        delete=tuple(sorted(delete, reverse=True)),
        make=tuple(make),
        send=tuple(send),
        kept=tuple(kept),
        blocked=tuple((os.fsdecode(path), reason) for path, reason in blocked.items()),
        left_out=frozenset(left_out),
    )


_IN_THE_WAY = (
    "a file or symlink that a job made stands where this folder must go; "
    "move it away on the machine (symlinks are never followed)"
)


def _is_equal(now: Entry, entry: Entry) -> bool:
    return bool(entry.extra) and now.extra == entry.extra


def _plan_deletions(
    wanted: set[bytes], view: Mapping[bytes, Entry], owned: Collection[bytes], delete: list[bytes]
) -> list[tuple[str, str]]:
    kept = []
    for path, now in view.items():
        if path in wanted:
            continue
        if now.kind == b"d" or path in owned:
            delete.append(path)
        else:
            kept.append((os.fsdecode(path), "changed on the machine since it was delivered; kept there"))
    return kept


def _is_below(path: bytes, blocked: Mapping[bytes, str]) -> bool:
    return bool(blocked) and any(path.startswith(above + b"/") for above in blocked)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullPlan:
    """A pull, as indices into the machine's entries.

    Attributes:
        make: Folders and links to make here.
        fetch: Files whose content must travel.
        same: Files that a stat shows unchanged since the last pull.
        ask: Files of equal size that only a digest can tell apart.
        skipped: Rows of what is left alone here.
    """

    make: tuple[int, ...] = ()
    fetch: tuple[int, ...] = ()
    same: tuple[int, ...] = ()
    ask: tuple[int, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


CHANGED_HERE = "changed here since it was last copied; kept (move or remove it to take the machine's)"


def plan_pull(
    entries: Sequence[Entry],
    here: Mapping[bytes, Entry],
    pulled: Mapping[bytes, Entry],
    delivered: Mapping[bytes, Entry],
) -> PullPlan:
    """Decide a pull: nothing is deleted here, and no file that changed here is overwritten.

    Args:
        entries: The machine's side, parents before children.
        here: What is on this computer, of these paths.
        pulled: What the last pull brought, as it was on the machine and then here.
        delivered: What was last pushed from here.
    """
    chosen: dict[str, list[int]] = {"make": [], "fetch": [], "same": [], "ask": []}
    skipped: list[tuple[str, str]] = []
    for index, entry in enumerate(entries):
        now = here.get(entry.path)
        reason = _refusal(entry, now)
        if reason:
            skipped.append((os.fsdecode(entry.path), reason))
        elif now is None:
            chosen["fetch" if entry.kind == b"f" else "make"].append(index)
        elif entry.kind == b"f":
            what = _file_choice(entry, now, pulled.get(entry.path), delivered.get(entry.path))
            if what == "kept":
                skipped.append((os.fsdecode(entry.path), CHANGED_HERE))
            else:
                chosen[what].append(index)
    return PullPlan(
        make=tuple(chosen["make"]),
        fetch=tuple(chosen["fetch"]),
        same=tuple(chosen["same"]),
        ask=tuple(chosen["ask"]),
        skipped=tuple(skipped),
    )


def _file_choice(entry: Entry, now: Entry, before: Entry | None, sent: Entry | None) -> str:
    if same(before, now):
        return "same" if same(before, entry) else "fetch"
    if same(sent, now):
        return "same" if same(sent, entry) else "fetch"
    return "ask" if now.size == entry.size else "kept"


def _refusal(entry: Entry, now: Entry | None) -> str:
    """Why this entry is not brought, or nothing."""
    if entry.kind == b"?":
        return "neither a file, a folder nor a symlink"
    if entry.kind == b"l" and leads_out(entry):
        return f"a symlink that leads outside ({os.fsdecode(entry.extra)})"
    if now is not None and now.kind != entry.kind:
        return f"{_KINDS[now.kind]} stands here where the machine has {_KINDS[entry.kind]}"
    if now is not None and entry.kind == b"l" and now.extra != entry.extra:
        return CHANGED_HERE
    return ""


_KINDS = {b"f": "a file", b"d": "a folder", b"l": "a symlink", b"?": "a device or pipe"}


def leads_out(link: Entry) -> bool:
    """Whether a symlink's target lies outside the tree it is in."""
    if link.extra.startswith(b"/"):
        return True
    target = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.extra))
    return target == b".." or target.startswith(b"../")


def collisions(entries: Sequence[Entry]) -> list[tuple[bytes, bytes]]:
    """Pairs of names that a file system which folds case or composes accents cannot both hold."""
    seen: dict[str, bytes] = {}
    pairs: list[tuple[bytes, bytes]] = []
    names = [entry[0] for entry in entries]
    if b"".join(names).isascii() and len({name.lower() for name in names}) == len(names):
        return pairs  # nearly always, and a hundred times faster
    for entry in entries:
        folded = unicodedata.normalize("NFC", os.fsdecode(entry.path).casefold())
        first = seen.setdefault(folded, entry.path)
        if first != entry.path:
            pairs.append((first, entry.path))
    return pairs
