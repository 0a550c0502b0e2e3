"""From the user's task to what runs on every node."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpuforge.errors import DeadlineError
from gpuforge.models import ids
from gpuforge.models.clock import rfc3339
from gpuforge.models.job import JobSpec

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from gpuforge.models.cluster import Cluster
    from gpuforge.models.job import Runnable

__all__ = ["job_spec"]


def job_spec(
    task: Runnable, *, cluster: Cluster, now: datetime, setup: bool = True, needs: timedelta | None = None
) -> JobSpec:
    """A fresh job of ``task``; its id sorts by time.

    Args:
        task: What to run.
        cluster: Where; its deadline must lie ahead.
        now: The moment the id is made from.
        setup: Run the task's ``setup`` first; a plain command on a live cluster skips it.
        needs: How long it may take; so much must be left.

    Raises:
        DeadlineError: The machines' deadline has passed, or comes before ``needs`` is over.
    """
    if now >= cluster.deadline:
        raise DeadlineError(
            f"cluster {cluster.name} has reached its deadline",
            details=f"it ended at {rfc3339(cluster.deadline)}; it is now {rfc3339(now)}",
            resolution=f"gpuforge down {cluster.name} && gpuforge run      rents new machines",
        )
    if needs is not None and now + needs > cluster.deadline:
        raise DeadlineError(
            f"the job does not fit before the deadline of cluster {cluster.name}",
            details=(
                f"it may run until {rfc3339(now + needs)}; the machines end at {rfc3339(cluster.deadline)}, "
                "which the cloud itself enforces"
            ),
            resolution=f"a shorter --max-duration, or  gpuforge down {cluster.name} && gpuforge run",
        )
    return JobSpec(
        job_id=ids.job_id(now, os.urandom(7)),
        name=task.name or cluster.name,
        setup=task.setup if setup else "",
        run=task.run,
        envs=task.envs,
        secrets=task.secrets,
        launcher=task.launcher,
    )
