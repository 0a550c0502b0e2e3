"""Bringing roots to every node of a cluster at once, and telling how far it is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gpuforge.models.progress import Step
from gpuforge.models.sync import format_size
from gpuforge.spec.wording import counted
from gpuforge.sync.push import push
from gpuforge.sync.roots import list_roots
from gpuforge.transport.fanout import each

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpuforge.models.progress import Progress
    from gpuforge.models.sync import SyncReport
    from gpuforge.node.client import NodeClient
    from gpuforge.sync.push import Root

__all__ = ["deliver"]


def deliver(
    nodes: Sequence[NodeClient], roots: tuple[Root, ...], *, folder: Path, progress: Progress
) -> tuple[SyncReport, ...]:
    """Make every root equal on every node; each root is listed once.

    Returns:
        Reports node by node, in the order of ``roots``.

    Raises:
        SyncError: Some entry could not be delivered to some node.
    """
    if not roots:
        return ()
    progress(Step(key="sync", text="listing local files"))
    listings = list_roots(roots)
    copy = partial(push, roots=roots, listings=listings, folder=folder, progress=progress)
    reports = tuple(report for reports in each(nodes, copy) for report in reports)
    files = sum(entry.kind == b"f" for listing in listings.values() for entry in listing.entries)
    progress(Step(key="sync", text=_told(reports, files=files, nodes=len(nodes)), done=True))
    return reports


def _told(reports: Sequence[SyncReport], *, files: int, nodes: int) -> str:
    once = reports[: len(reports) // nodes]
    size = format_size(sum(report.total_bytes for report in once))
    sent = sum(report.sent_files for report in reports)
    digests = "+".join(report.digest[:6] for report in once)
    where = "on both" if nodes == 1 else f"here and on all {nodes}"
    counts = f"{counted(files, 'file')} · {size}" + ("" if sent == files * nodes else f" · {sent:,} sent")
    return f"{counts} · {digests} equal {where}"
