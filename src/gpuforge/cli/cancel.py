"""``gpuforge cancel``: end a job and everything it started."""

from __future__ import annotations

import click

from gpuforge.cli.follow import job_data, show_end
from gpuforge.cli.options import cluster_option, json_option
from gpuforge.cli.output import output

__all__ = ["command"]


@click.command("cancel", epilog="Example:  gpuforge cancel 1")
@click.argument("job")
@cluster_option
@click.option("--grace", type=int, metavar="SECONDS", help="From SIGTERM to SIGKILL.")
@json_option
def command(job: str, cluster_name: str | None, grace: int | None) -> None:
    """Ask JOB's program to end, then make it; the machines stay."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    cluster = Forge(progress=output.step).cluster(cluster_name)
    status = cluster.job(job).cancel(grace_seconds=grace)
    if output.as_json:
        output.data(job_data(status, cluster.name))
    else:
        show_end(status)
