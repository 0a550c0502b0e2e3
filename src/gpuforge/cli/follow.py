"""Following a job on the screen, leaving it with Ctrl-C, and saying how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.clusterview import show_still_up
from gpuforge.cli.errors import INTERRUPTED
from gpuforge.cli.output import output
from gpuforge.models.clock import rfc3339

if TYPE_CHECKING:
    from gpuforge.forge import Cluster, Job
    from gpuforge.models.job import JobStatus

__all__ = ["Lines", "exit_code_of", "follow", "job_data", "show_end"]

_LOST = 67
_DEADLINE = 75


def follow(job: Job) -> JobStatus:
    """Stream until the job ended; Ctrl-C leaves it running and exits 130."""
    screen = Lines(prefix=len(job.cluster.record.nodes) > 1)
    try:
        for chunk in job.chunks():
            screen.show(chunk.rank, chunk.data)
        screen.end()
        return job.status()
    except KeyboardInterrupt:
        _detached(job)
        raise click.exceptions.Exit(INTERRUPTED) from None


class Lines:
    """A job's bytes on stdout: untouched from one node, line by line with the rank from several."""

    def __init__(self, *, prefix: bool) -> None:
        self._prefix = prefix
        self._rest: dict[int, bytes] = {}

    def show(self, rank: int, data: bytes) -> None:
        """Print what is complete."""
        if not self._prefix and not output.as_json:
            output.raw(data)
            return
        *whole, rest = (self._rest.pop(rank, b"") + data).split(b"\n")
        self._rest[rank] = rest
        for line in whole:
            self._line(rank, line)

    def end(self) -> None:
        """Print what never got its newline."""
        for rank, rest in sorted(self._rest.items()):
            if rest:
                self._line(rank, rest)
        self._rest.clear()

    def _line(self, rank: int, line: bytes) -> None:
        if output.as_json:
            output.event({"event": "log", "rank": rank, "text": line.decode("utf-8", "replace")})
        else:
            output.raw(f"[{rank}] ".encode() + line + b"\n")


def show_end(status: JobStatus) -> None:
    """``✓ job 1  exit 0``, or the first real cause."""
    from gpuforge.models.job import JobState  # noqa: PLC0415 - start-up cost

    failed = status.state is not JobState.SUCCEEDED
    sign = output.sign("✗", "x") if failed else output.sign("✓", "ok")
    sign = output.paint(sign, "red" if failed else "green")
    code = "no exit code" if status.exit_code is None else f"exit {status.exit_code}"
    cause = f"  {status.cause}" if status.cause else ""
    output.line(f"  {sign} {f'job {status.alias}':<12}{code}{cause}")


def exit_code_of(status: JobStatus, cluster: Cluster) -> int:
    """The job's own code; 75 or 67 when its machine ended before it did."""
    if status.exit_code is not None:
        return status.exit_code
    return _DEADLINE if cluster.forge.clock.now() >= cluster.record.deadline else _LOST


def job_data(status: JobStatus, cluster_name: str) -> dict[str, Any]:
    """A job as a document."""
    return {
        "job_id": status.job_id,
        "alias": status.alias,
        "cluster": cluster_name,
        "name": status.name,
        "state": str(status.state),
        "exit_code": status.exit_code,
        "cause": status.cause,
        "submitted": rfc3339(status.submitted),
        "started": rfc3339(status.started) if status.started else None,
        "ended": rfc3339(status.ended) if status.ended else None,
        "nodes": [
            {
                "rank": record.rank,
                "state": str(record.state),
                "exit_code": record.exit_code,
                "signal": record.signal,
                "phase": record.phase,
                "cause": record.cause,
                "is_consequence": record.is_consequence,
            }
            for record in status.records
        ],
    }


def _detached(job: Job) -> None:
    name = job.cluster.name
    output.line(f"\ndetached — job {job.job_id} runs on.")
    show_still_up(job.cluster)
    output.line(f"  back          gpuforge logs -c {name} -f")
    output.line(f"  stop it       gpuforge cancel -c {name} {job.job_id}")
    output.line(f"  give it back  gpuforge down {name}")
