"""``gpuforge logs``: print or follow a job's output."""

from __future__ import annotations

import click

from gpuforge.cli.follow import Lines, exit_code_of, follow
from gpuforge.cli.options import cluster_option, json_option
from gpuforge.cli.output import output

__all__ = ["command"]


@click.command("logs", epilog="Example:  gpuforge logs 1 -f")
@click.argument("job", required=False)
@cluster_option
@click.option("-f", "--follow", "keep_following", is_flag=True, help="Stay until the job ends.")
@click.option("--tail", type=int, metavar="N", help="The last N lines only.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    job: str | None,
    cluster_name: str | None,
    *,
    keep_following: bool,
    tail: int | None,
) -> None:
    """Print the output of JOB (its id or small number; the newest when left out)."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    cluster = Forge(progress=output.step).cluster(cluster_name)
    found = cluster.job(job)
    if keep_following:
        context.exit(exit_code_of(follow(found), cluster))
    if tail is not None:
        for line in list(found.logs())[-tail:] if tail > 0 else ():
            output.raw(line.encode("utf-8", "surrogateescape"))
        return
    screen = Lines(prefix=len(cluster.record.nodes) > 1)
    for chunk in found.chunks(follow=False):
        screen.show(chunk.rank, chunk.data)
    screen.end()
