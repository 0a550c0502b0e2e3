"""Ending a job before its time, on every node at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.errors import GpuforgeError
from gpuforge.jobs.status import merge
from gpuforge.transport.fanout import each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuforge.models.job import JobStatus
    from gpuforge.node.client import NodeClient, NodeStatus

__all__ = ["cancel"]


def cancel(nodes: Sequence[NodeClient], job_id: str, *, grace_seconds: float | None = None) -> JobStatus:
    """End the job everywhere and wait until nothing of it is left; a job that has ended stays as it is.

    Nodes that cannot be reached hear it from the gang's head.

    Raises:
        JobError: No node knows it.
        ConnectError: No node answered.
    """

    def one(node: NodeClient) -> NodeStatus | GpuforgeError:
        try:
            return node.cancel(job_id, grace_seconds)
        except GpuforgeError as error:
            return error

    answers = each(nodes, one)
    parts = [answer for answer in answers if not isinstance(answer, GpuforgeError)]
    if not parts:
        raise next(answer for answer in answers if isinstance(answer, GpuforgeError))
    return merge(parts)
