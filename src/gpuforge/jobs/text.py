"""Logs as lines of text, and which job of several is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gpuforge.jobs.logs import LogChunk
    from gpuforge.models.job import JobStatus

__all__ = ["find", "lines"]


def lines(chunks: Iterable[LogChunk], *, prefix: bool) -> Iterator[str]:
    """Lines with their newline, each node's bytes kept in order; odd bytes survive as surrogates.

    Args:
        chunks: Pieces of one node, or of several in any interleaving.
        prefix: Begin each line with ``[rank] ``.
    """
    rest: dict[int, bytes] = {}
    for chunk in chunks:
        *whole, rest[chunk.rank] = (rest.get(chunk.rank, b"") + chunk.data).split(b"\n")
        for line in whole:
            yield _text(chunk.rank, line + b"\n", prefix=prefix)
    for rank, line in sorted(rest.items()):
        if line:
            yield _text(rank, line, prefix=prefix)


def _text(rank: int, line: bytes, *, prefix: bool) -> str:
    text = line.decode("utf-8", "surrogateescape")
    return f"[{rank}] {text}" if prefix else text


def find(jobs: Sequence[JobStatus], which: str | None, *, cluster: str) -> JobStatus:
    """A job by its id or small number; the newest without either.

    Raises:
        JobError: No such job.
    """
    if which is None:
        if jobs:
            return jobs[-1]
        raise JobError(f"no job ran on {cluster} yet", resolution="gpuforge run")
    for job in jobs:
        if which in (job.job_id, str(job.alias)):
            return job
    known = ", ".join(str(job.alias) for job in jobs) or "none"
    raise JobError(
        f"there is no job {which} on {cluster}", details=f"its jobs: {known}", resolution="gpuforge jobs"
    )
