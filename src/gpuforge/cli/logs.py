"""``gpuforge logs``: print or follow a job's output."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import click

from gpuforge.cli.follow import Lines, exit_code_of, follow, job_data, show_end
from gpuforge.cli.options import cluster_option, json_option
from gpuforge.cli.output import output

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpuforge.forge import Job
    from gpuforge.jobs.logs import LogChunk

__all__ = ["command"]


@click.command("logs", epilog="Example:  gpuforge logs 1 -f")
@click.argument("job", required=False)
@cluster_option
@click.option("-f", "--follow", "keep_following", is_flag=True, help="Stay until the job ends.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="The last N lines only.")
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
    offsets = _print(found, tail=tail) if tail is not None or not keep_following else None
    if not keep_following:
        if output.as_json:
            output.data(job_data(found.status(), cluster.name))
        return
    status = follow(found, offsets=offsets)
    code = exit_code_of(status, cluster)
    if output.as_json:
        output.data(job_data(status, cluster.name))
    elif code:
        show_end(status)
    context.exit(code)


def _print(job: Job, *, tail: int | None) -> Mapping[int, int]:
    """What is there now, all of it or the last lines; returns where each node's log goes on."""
    stream = job.chunks(follow=False)
    screen = Lines(prefix=len(job.cluster.record.nodes) > 1)
    if tail is None:
        for chunk in stream:
            screen.show(chunk.rank, chunk.data)
    else:
        for rank, line in _last(stream, tail):
            screen.show(rank, line)
    screen.end()
    return stream.offsets


def _last(chunks: Iterable[LogChunk], count: int) -> Iterable[tuple[int, bytes]]:
    """The last lines over all nodes, in the order they arrived; the memory of those alone."""
    kept: deque[tuple[int, bytes]] = deque(maxlen=count)
    rest: dict[int, bytes] = {}
    for chunk in chunks:
        *whole, rest[chunk.rank] = (rest.get(chunk.rank, b"") + chunk.data).split(b"\n")
        kept.extend((chunk.rank, line + b"\n") for line in whole)
    kept.extend((rank, line) for rank, line in sorted(rest.items()) if line)
    return kept
