"""The node's end of a pull: what matches, listed and sent."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase

from .entries import check_name, encode, tree_digest
from .outgoing import Outgoing
from .tree import digest_or_none
from .wire import NONE, frame, message, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List

    from .entries import Entry
    from .tree import Tree


class Pull:
    """One pull, on the node.

    Args:
        emit: Takes each frame of content.
        say: Takes a frame that the client waits for.
        expect: Gives the payload of the next frame, of this kind.
        tree: Where the files are.
    """

    def __init__(
        self,
        emit: Callable[[bytes], Any],
        say: Callable[[bytes], None],
        expect: Callable[[bytes], bytes],
        tree: Tree,
    ) -> None:
        self._emit, self._say, self._expect, self._tree = emit, say, expect, tree

    def run(self, head: Dict[str, Any]) -> None:
        """The whole exchange."""
        tree, entries = self._tree, self._list(head)
        wanted = json.loads(self._expect(b"Q"))
        digests: Dict[int, str] = {}
        if "digest" in wanted:
            digests = {i: digest_or_none(tree, entries[i].path) for i in wanted["digest"]}
            self._say(message(b"G", digests))
            wanted = json.loads(self._expect(b"Q"))
        sender = Outgoing(tree, entries, self._emit)
        for row in sender.send(wanted["fetch"]):
            self._say(message(b"R", row))
        proven = [entries[i]._replace(extra=digests[i].encode()) for i in wanted["same"]]
        proven += sender.done.values()
        self._say(message(b"D", {"tree": tree_digest(proven)}))

    def _list(self, head: Dict[str, Any]) -> List[Entry]:
        """What matches, in order, as the client is told; a row goes out for each pattern without a match."""
        tree = self._tree
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
        return entries


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
