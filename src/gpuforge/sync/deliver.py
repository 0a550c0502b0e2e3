"""Bringing roots to every node of a cluster at once, and telling how far it is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gpuforge.models.progress import Step
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
    copy = partial(push, roots=roots, listings=list_roots(roots), folder=folder, progress=progress)
    reports = tuple(report for reports in each(nodes, copy) for report in reports)
    progress(Step(key="sync", text=_told(reports, len(nodes)), done=True))
    return reports


def _told(reports: Sequence[SyncReport], nodes: int) -> str:
    once = reports[: len(reports) // nodes]
    files, size = sum(r.files for r in once), sum(r.total_bytes for r in once)
    sent = sum(r.sent_files for r in reports)
    digests = "+".join(report.digest[:6] for report in once)
    where = "both" if nodes == 1 else f"all {nodes}"
    return f"{files:,} entries · {size / 1e6:.1f} MB · {sent:,} sent · {digests} equal on {where}"
