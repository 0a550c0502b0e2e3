"""From this computer to a node: the folder there becomes equal, and both ends prove it.

A machine keeps what it wrote itself: only what an earlier push delivered, and what did not change since,
is ever deleted. Folder times, owners and hard links do not travel.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gpuforge.errors import SyncError
from gpuforge.models.progress import Step, silent
from gpuforge.models.sync import SyncReport
from gpuforge.node.remote.entries import decode, encode, tree_digest
from gpuforge.node.remote.outgoing import Outgoing
from gpuforge.node.remote.wire import VERSION, frame, message, pack, unpack
from gpuforge.sync import ignore
from gpuforge.sync.channel import Channel
from gpuforge.sync.failures import incomplete, unequal
from gpuforge.sync.manifest import Local, LocalTree, record_path
from gpuforge.sync.plan import collisions, doubtful, plan_push

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from gpuforge.models.progress import Progress
    from gpuforge.node.remote.entries import Entry
    from gpuforge.sync.channel import Row
    from gpuforge.sync.ignore import Listing, Rules
    from gpuforge.sync.plan import PushPlan
    from gpuforge.transport.base import RemoteProcess

__all__ = ["Node", "Root", "push"]


class Node(Protocol):
    """The part of :class:`gpuforge.node.client.NodeClient` that copies need."""

    def receiver(self, argv: Sequence[str], /) -> AbstractContextManager[RemoteProcess]:
        """Run the receiver on the node."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One thing that must be on the node.

    Attributes:
        local: A folder or a single file.
        remote: Its place, relative to the machine's home (``~/`` is understood); a single file goes
            into it when it ends in ``/``, else takes that name.
        rules: ``workdir`` follows git's rules where there is no ignore file; ``mount`` does not.
    """

    local: Path
    remote: str
    rules: Rules = "workdir"


def push(
    node: Node,
    roots: Sequence[Root],
    *,
    folder: Path,
    progress: Progress = silent,
    listings: Mapping[Root, Listing] | None = None,
    allow_outside: bool = False,
) -> list[SyncReport]:
    """Make every root on the node equal to its local side; the way to resume is to call again.

    Args:
        node: The node.
        roots: What must be there; each is finished and proven before the next begins.
        folder: The cluster's folder: what was delivered is remembered below it.
        progress: Called with bytes written.
        listings: Listings made before, so that many nodes need only one.
        allow_outside: Roots outside the machine's home are allowed (never on simulated machines).

    Raises:
        SyncError: Some entry could not be delivered, with a row for each; all others were.
        PolicyError: A root lies outside the machine's home.
        ConnectError: The connection was lost.
    """
    ahead = _Ahead(roots, listings or {})
    with node.receiver([]) as process, Channel(process, background=True) as channel:
        return [
            _Push(channel, root, ahead.listing(), progress, outside=allow_outside).run(folder)
            for root in roots
        ]


class _Ahead:
    """Lists one root after the other on a thread, while the receiver starts."""

    def __init__(self, roots: Sequence[Root], known: Mapping[Root, Listing]) -> None:
        self._roots, self._known = roots, known
        self._found: queue.SimpleQueue[Listing | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._list, name="gpuforge-list", daemon=True).start()

    def listing(self) -> Listing:
        """The next root's.

        Raises:
            SyncError: It cannot be listed.
        """
        found = self._found.get()
        if isinstance(found, Exception):
            raise found
        return found

    def _list(self) -> None:
        try:
            for root in self._roots:
                self._found.put(self._known.get(root) or ignore.listing(root.local, rules=root.rules))
        except (SyncError, OSError, ValueError) as error:
            self._found.put(error)
        finally:  # whatever else went wrong: nobody waits for ever
            self._found.put(SyncError("the listing of the local files broke off"))


class _Push:
    """One root to one node."""

    def __init__(
        self, channel: Channel, root: Root, listing: Listing, progress: Progress, *, outside: bool
    ) -> None:
        self._channel, self._root, self._listing, self._progress = channel, root, listing, progress
        self._outside = outside
        self._remote, name = _place(root.remote, listing.only)
        self._entries = list(listing.entries)
        self._tree_renamed = None
        if listing.only:
            self._tree_renamed = (os.fsencode(name), os.fsencode(listing.only))
            self._entries = [self._entries[0]._replace(path=self._tree_renamed[0])]
        self._name = name
        self._deleted = 0

    def run(self, folder: Path) -> SyncReport:
        started = time.monotonic()
        tree = LocalTree(self._listing.root, self._tree_renamed)
        try:
            record = record_path(folder, "push", os.fsdecode(self._listing.root), self._root.remote)
            local = Local.load(record, self._entries, listed_ns=self._listing.listed_ns).settled(tree)
            if self._is_there(local):
                local.confirm()
                return self._report(local.tree, {}, (), started)
            return self._update(local, tree, started)
        finally:
            tree.close()

    def _hello(self, local: Local, *, manifest: bool) -> None:
        head = {
            "version": VERSION,
            "op": "push",
            "root": self._remote,
            "only": self._name,
            "outside": self._outside,
            "state": local.state,
            "manifest": manifest,
        }
        self._channel.send(message(b"H", head))

    def _is_there(self, local: Local) -> bool:
        if not local.is_known:
            self._hello(local, manifest=True)
            return False
        self._hello(local, manifest=False)
        answer = self._channel.receive_json(b"S")
        if answer["same"] and answer["tree"] != local.tree:
            self._hello(local, manifest=True)  # the two remember different contents: settle it
            return False
        return bool(answer["same"])

    def _update(self, local: Local, tree: LocalTree, started: float) -> SyncReport:
        channel = self._channel
        channel.send(frame(b"M", pack(encode(local.entries))))
        view = {e.path: e for e in decode(unpack(channel.receive(b"V")[1]))}
        owned = set(unpack(channel.receive(b"O")[1]).split(b"\0"))
        local.add_digests(tree, doubtful(local.entries, view))
        plan = plan_push(local.entries, view, owned)
        orders = {"delete": [os.fsdecode(path) for path in plan.delete], "make": plan.make}
        channel.send(message(b"P", orders))
        failed = [*self._listing.failed, *plan.blocked]
        outgoing = self._stream(local, tree, plan, failed)
        for index, entry in outgoing.done.items():
            local.entries[index] = entry
        digest = tree_digest(local.entries)
        pairs = [(os.fsdecode(a), os.fsdecode(b)) for a, b in collisions(local.entries)]
        channel.send(message(b"Z", {"tree": "" if failed else digest, "pairs": pairs}))
        channel.flush()
        remember = local.prepare(digest)  # while the machine works out its own digest
        kind, payload = channel.receive(b"D", b"A")
        failed += channel.rows
        channel.rows.clear()
        if kind == b"A" and channel.aborted is not None:
            failed.append(channel.aborted)
        if failed:
            raise incomplete(self._root.remote, failed, len(local.entries))
        done = _json(payload)
        self._deleted = done["deleted"]
        if done["tree"] != digest:
            raise unequal(self._root.remote, digest, done["tree"])
        remember()
        return self._report(digest, outgoing.done, plan.kept, started)

    def _stream(self, local: Local, tree: LocalTree, plan: PushPlan, failed: list[Row]) -> Outgoing:
        total = sum(local.entries[index].size for index in plan.send)
        written = 0

        def sent(count: int) -> None:
            nonlocal written
            written += count
            text = f"to {self._root.remote}"
            step = Step(key="sync", text=text, current=min(written, total), total=total, unit="bytes")
            self._progress(step)

        def emit(data: bytes) -> None:
            if self._channel.aborted is not None:
                raise _AbortedError
            self._channel.send(data)

        outgoing = Outgoing(tree, local.entries, emit)
        self._channel.sent = sent
        try:
            failed.extend(outgoing.send(plan.send))
            self._channel.flush()
        except _AbortedError:
            pass
        finally:
            self._channel.sent = None
        return outgoing

    def _report(
        self, digest: str, done: Mapping[int, Entry], kept: Sequence[Row], started: float
    ) -> SyncReport:
        return SyncReport(
            root=self._root.remote,
            files=len(self._entries),
            total_bytes=sum(entry.size for entry in self._entries),
            sent_files=len(done),
            sent_bytes=sum(entry.size for entry in done.values()),
            deleted=self._deleted,
            ignored=self._listing.ignored,
            digest=digest,
            skipped=(*self._listing.skipped, *kept),
            seconds=time.monotonic() - started,
        )


class _AbortedError(Exception):
    """The machine's disk is full; its row is in the channel."""


def _json(payload: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(payload)
    return value


def _place(remote: str, only: str) -> tuple[str, str]:
    """The folder on the machine, and the name there of a single file."""
    if not only:
        return remote.rstrip("/") or "/", ""
    if remote.endswith("/") or remote == "~":
        return remote, only
    folder, slash, name = remote.rpartition("/")
    return (folder or slash or "~"), name
