"""``gpuforge jobs``: jobs of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpuforge.cli.follow import job_data
from gpuforge.cli.options import cluster_option, json_option
from gpuforge.cli.output import output
from gpuforge.cli.words import ago, span

if TYPE_CHECKING:
    from datetime import datetime

    from gpuforge.models.job import JobStatus

__all__ = ["command"]

# SkyPilot's codes, kept for scripts that poll
_STATUS_CODES = {"succeeded": 0, "failed": 100, "lost": 100, "cancelled": 103}
_NOT_FINISHED = 101


@click.command("jobs", epilog="Example:  gpuforge jobs --status 1; echo $?")
@cluster_option
@click.option(
    "--status",
    "which",
    metavar="JOB",
    help="Exit with this job's state: 0 done, 100 failed, 101 not finished, 103 cancelled.",
)
@json_option
@click.pass_context
def command(context: click.Context, cluster_name: str | None, which: str | None) -> None:
    """List jobs, oldest first."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    forge = Forge()
    cluster = forge.cluster(cluster_name)
    if which is not None:
        status = cluster.job(which).status()
        _print([status], cluster.name, forge.clock.now())
        context.exit(_STATUS_CODES.get(str(status.state), _NOT_FINISHED))
    _print(list(cluster.jobs()), cluster.name, forge.clock.now())


def _print(jobs: list[JobStatus], cluster_name: str, now: datetime) -> None:
    if output.as_json:
        output.data([job_data(job, cluster_name) for job in jobs])
    elif not jobs:
        output.result(f"no job yet on {cluster_name}: gpuforge run")
    else:
        output.table(
            ("JOB", "NAME", "STATE", "EXIT", "SUBMITTED", "TOOK", "CAUSE"), [_row(job, now) for job in jobs]
        )


def _row(job: JobStatus, now: datetime) -> tuple[str, ...]:
    took = span((job.ended or now) - job.started) if job.started else "–"
    exit_code = "–" if job.exit_code is None else str(job.exit_code)
    return (str(job.alias), job.name, str(job.state), exit_code, ago(job.submitted, now), took, job.cause)
