"""From a node to this computer: outputs come back, and nothing that changed here is overwritten.

Nothing is deleted here either. A file that a job is still writing is a row, not half a file.
"""

from __future__ import annotations

import json
import os
import posixpath
import time
from typing import TYPE_CHECKING

from gpuforge.errors import SyncError
from gpuforge.models.progress import Step, silent
from gpuforge.models.sync import SyncReport
from gpuforge.node.remote.delivered import load_record, save_record
from gpuforge.node.remote.entries import check_name, decode, encode, tree_digest
from gpuforge.node.remote.incoming import FullError, Incoming, failed_row, make, sweep
from gpuforge.node.remote.tree import clashes, digest_or_none
from gpuforge.node.remote.wire import VERSION, RefusedError, message, unpack
from gpuforge.sync.channel import Channel
from gpuforge.sync.failures import incomplete, unequal
from gpuforge.sync.manifest import LocalTree, record_path
from gpuforge.sync.plan import CHANGED_HERE, collisions, plan_pull

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gpuforge.models.progress import Progress
    from gpuforge.node.remote.entries import Entry
    from gpuforge.sync.channel import Row
    from gpuforge.sync.plan import PullPlan
    from gpuforge.sync.push import Node

__all__ = ["pull", "pull_paths"]


def pull(
    node: Node,
    patterns: Sequence[str],
    *,
    workdir: str = "workdir",
    into: Path,
    folder: Path,
    progress: Progress = silent,
    skip: str = ".tmp",
) -> SyncReport:
    """Bring what matches back, at the same relative places below ``into``.

    Args:
        node: The node.
        patterns: Paths or globs (``**`` crosses folders) below ``workdir``; a folder means all in it.
        workdir: The folder on the machine, relative to its home.
        into: The local folder; made if missing.
        folder: The cluster's folder: what was pulled is remembered below it.
        progress: Called with bytes received.
        skip: Names ending so are unfinished checkpoints and stay; empty takes everything.

    Returns:
        A report; its digest covers what was compared in this run, its ``skipped`` rows name what was
        left alone: changed here, leading outside, matching nothing.

    Raises:
        SyncError: Some file could not be brought, with a row for each; all others were.
        PolicyError: ``workdir`` lies outside the machine's home.
        ConnectError: The connection was lost; call again, and only what is missing travels.
    """
    into = into.expanduser().absolute()
    into.mkdir(parents=True, exist_ok=True)
    with node.receiver([]) as process, Channel(process, background=False) as channel:
        session = _Pull(channel, workdir, into, progress)
        return session.run(
            list(patterns),
            skip,
            record=record_path(folder, "pull", str(into), workdir),
            pushed=record_path(folder, "push", str(into), workdir),
        )


def pull_paths(
    node: Node, remote: str, *, into: Path, folder: Path, progress: Progress = silent
) -> SyncReport:
    """Bring one path or glob, relative to the machine's home, to ``into`` under its own last name."""
    above, _, name = remote.rstrip("/").rpartition("/")
    if not name or name == "~":
        return pull(node, ["*"], workdir="~", into=into, folder=folder, progress=progress, skip="")
    place = above or ("/" if remote.startswith("/") else "~")
    return pull(node, [name], workdir=place, into=into, folder=folder, progress=progress, skip="")


class _Pull:
    """One exchange."""

    def __init__(self, channel: Channel, workdir: str, into: Path, progress: Progress) -> None:
        self._channel, self._workdir, self._into, self._progress = channel, workdir, into, progress
        self._tree = LocalTree(os.fsencode(into))
        self._received = 0

    def run(self, patterns: list[str], skip: str, *, record: str, pushed: str) -> SyncReport:
        started = time.monotonic()
        try:
            return self._run(patterns, skip, record, pushed, started)
        finally:
            self._tree.close()

    def _run(self, patterns: list[str], skip: str, record: str, pushed: str, started: float) -> SyncReport:
        channel = self._channel
        head = {"version": VERSION, "op": "pull", "root": self._workdir, "skip": skip}
        channel.send(message(b"H", {**head, "patterns": [posixpath.normpath(p) for p in patterns]}))
        entries = _listing(channel.receive(b"M")[1])
        unmatched, channel.rows = channel.rows, []
        last = load_record(record)
        if "token" in last.head:
            sweep(self._tree, last.head["token"], [*last.entries, *[entry.path for entry in entries]])
        plan = plan_pull(
            entries,
            self._tree.look([entry.path for entry in entries]),
            last.entries,
            load_record(pushed).entries,
        )
        adopted, changed = self._settle(entries, plan)
        failed: list[Row] = []
        self._make(entries, [*plan.make, *adopted], failed)
        channel.send(message(b"Q", {"fetch": plan.fetch, "same": list(adopted)}))
        token = os.urandom(8).hex()
        save_record(record, {"token": token}, last.raw)
        incoming = Incoming(self._tree, entries, token, umask=0o777)
        try:
            tree = self._receive(incoming, entries, plan, failed)
        finally:
            incoming.discard()
            done = [*adopted.values(), *incoming.done.values()]
            known = {**last.entries, **{entry.path: entry for entry in done}}
            save_record(record, {}, encode(known.values(), digests=True))
        failed += clashes(self._tree, [(os.fsdecode(a), os.fsdecode(b)) for a, b in collisions(done)])
        if failed:
            raise incomplete(str(self._into), failed, len(entries))
        if tree != tree_digest(done):
            raise unequal(str(self._into), tree_digest(done), tree)
        skipped = (*unmatched, *plan.skipped, *changed)
        return self._report(entries, incoming, skipped, tree, started)

    def _report(
        self, entries: list[Entry], incoming: Incoming, skipped: tuple[Row, ...], tree: str, started: float
    ) -> SyncReport:
        left = {path for path, _ in skipped}
        kept = [entry for entry in entries if os.fsdecode(entry.path) not in left]
        return SyncReport(
            root=self._workdir,
            files=len(kept),
            total_bytes=sum(entry.size for entry in kept),
            sent_files=len(incoming.done),
            sent_bytes=sum(entry.size for entry in incoming.done.values()),
            deleted=0,
            ignored=0,
            digest=tree,
            skipped=skipped,
            seconds=time.monotonic() - started,
        )

    def _settle(self, entries: list[Entry], plan: PullPlan) -> tuple[dict[int, Entry], list[Row]]:
        """Compare digests where a stat cannot tell: the equal ones, and rows of the others."""
        if not plan.ask:
            return {}, []
        self._channel.send(message(b"Q", {"digest": plan.ask}))
        theirs = self._channel.receive_json(b"G")
        adopted: dict[int, Entry] = {}
        changed: list[Row] = []
        for index in plan.ask:
            path, digest = entries[index].path, theirs[str(index)]
            if digest and digest == digest_or_none(self._tree, path):
                adopted[index] = entries[index]._replace(extra=digest.encode())
            else:
                changed.append((os.fsdecode(path), CHANGED_HERE))
        return adopted, changed

    def _make(self, entries: list[Entry], indices: Iterable[int], failed: list[Row]) -> None:
        for index in indices:
            try:
                make(self._tree, entries[index])
            except OSError as error:
                failed.append(failed_row(self._tree, entries[index], error))

    def _receive(self, incoming: Incoming, entries: list[Entry], plan: PullPlan, failed: list[Row]) -> str:
        channel, total = self._channel, sum(entries[index].size for index in plan.fetch)
        while True:
            kind, payload = channel.receive(b"F", b"B", b"C", b"E", b"X", b"D")
            if kind == b"D":
                failed += channel.rows
                return str(json.loads(payload)["tree"])
            try:
                failed += incoming.take(kind, payload)
            except FullError as full:
                raise incomplete(str(self._into), [*failed, full.args[0]], len(entries)) from full
            self._count(len(payload), total)

    def _count(self, count: int, total: int) -> None:
        before = self._received >> 20
        self._received += count
        if self._received >> 20 != before:
            current = min(self._received, total)
            text = f"to {self._into}"
            self._progress(Step(key="outputs", text=text, current=current, total=total, unit="bytes"))


def _listing(payload: bytes) -> list[Entry]:
    """The machine's entries, held against names that would leave the folder."""
    try:
        entries = decode(unpack(payload))
        for entry in entries:
            check_name(entry.path)
    except (RefusedError, ValueError) as error:
        raise SyncError("the machine sent a listing that cannot be taken", details=str(error)) from error
    # a folder its owner cannot write to could not be filled
    return [entry._replace(mode=entry.mode | 0o700) if entry.kind == b"d" else entry for entry in entries]
