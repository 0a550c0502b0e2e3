"""Following a job on the screen, leaving it with Ctrl-C, and saying how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.clusterview import selector, show_still_up
from gpuforge.cli.errors import INTERRUPTED, READER_GONE, echoed
from gpuforge.cli.output import output
from gpuforge.models.clock import rfc3339
from gpuforge.models.progress import Step
from gpuforge.redact import StreamRedactor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuforge.forge import Cluster, Job
    from gpuforge.jobs.logs import LogStream
    from gpuforge.models.job import JobStatus

__all__ = ["Detached", "Lines", "exit_code_of", "follow", "job_data", "show_end"]

_LOST = 67
_DEADLINE = 75
_OWN_CODES = range(64, 80)
_BEFORE_RUN = ("queue", "setup", "wait")


class Detached(click.exceptions.Exit):
    """Nobody looks any more; the job runs on."""


def follow(
    job: Job, *, setup: str = "", run: str = "", offsets: Mapping[int, int] | None = None
) -> JobStatus:
    """Stream until the job ended.

    Args:
        job: What to follow.
        setup: The job's setup, to show when it is over.
        run: What it runs, to show when it begins.
        offsets: Where to begin, by rank; the beginning by default.

    Raises:
        Detached: Ctrl-C (130), or nobody reads stdout any more (141).
    """
    screen = Lines(prefix=len(job.cluster.record.nodes) > 1)
    stream = job.chunks(offsets=offsets)
    course = _Course(stream, setup, run)
    try:
        output.event_if_json({"event": "job", "job_id": job.job_id, "cluster": job.cluster.name})
        course.begin()
        for chunk in stream:
            screen.show(chunk.rank, chunk.data)
        screen.end()
        course.end()
        return job.status()
    except KeyboardInterrupt:
        raise _detached(job, stream, f"{echoed()}detached", INTERRUPTED) from None
    except BrokenPipeError:
        output.forget_stdout()
        raise _detached(job, stream, "nobody reads on", READER_GONE) from None


class _Course:
    """Setup and start of a job as lines between its own output, in the order they happened."""

    def __init__(self, stream: LogStream, setup: str, run: str) -> None:
        self._stream = stream
        self._setup = _first_line(setup)
        self._run = _first_line(run)
        self._phase = ""
        stream.on_change = self._look

    def begin(self) -> None:
        if self._setup:
            output.step(Step(key="setup", text=self._setup))

    def _look(self) -> None:
        phases = {state.phase for state in self._stream.states.values()}
        phase = next((name for name in _BEFORE_RUN if name in phases), "run" if phases else "")
        if phase in ("", self._phase):
            return
        self._phase = phase
        output.steps.drop("queue")
        output.steps.drop("gang")
        if phase == "queue":
            output.step(Step(key="queue", text="waiting for the job before it"))
        elif phase == "wait":
            self._setup_done(failed=False)
            output.step(Step(key="gang", text="waiting for the other nodes"))
        elif phase == "run":
            self._setup_done(failed=False)
            self._running()

    def end(self) -> None:
        """Lines of what never came to its own."""
        output.steps.drop("queue")
        output.steps.drop("gang")
        if self._phase != "run":
            self._setup_done(failed=any(record.phase == "setup" for record in self._stream.records.values()))

    def _setup_done(self, *, failed: bool) -> None:
        if output.steps.is_open("setup"):
            output.step(Step(key="setup", text=self._setup, done=not failed, failed=failed))

    def _running(self) -> None:
        if self._run and not output.as_json:
            name = "job" if self._stream.alias is None else f"job {self._stream.alias}"
            output.line(f"  {output.paint('▶', 'cyan')} {name:<12}{self._run}\n")


def _first_line(script: str) -> str:
    lines = [
        line.strip() for line in script.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        return ""
    return lines[0] if len(lines) == 1 else f"{lines[0]} …"


class Lines:
    """A job's bytes on stdout: untouched from one node, line by line with the rank from several.

    Secrets of this process are masked, also where one arrives in two pieces.
    """

    def __init__(self, *, prefix: bool) -> None:
        self._prefix = prefix
        self._rest: dict[int, bytes] = {}
        self._clean: dict[int, StreamRedactor] = {}

    def show(self, rank: int, data: bytes) -> None:
        """Print what is complete."""
        self._show(rank, self._clean.setdefault(rank, StreamRedactor()).feed(data))

    def end(self) -> None:
        """Print what was held back and what never got its newline."""
        for rank, clean in sorted(self._clean.items()):
            self._show(rank, clean.end())
        for rank, rest in sorted(self._rest.items()):
            if rest:
                self._line(rank, rest)
        self._rest.clear()

    def _show(self, rank: int, data: bytes) -> None:
        if not self._prefix and not output.as_json:
            output.raw(data)
            return
        *whole, rest = (self._rest.pop(rank, b"") + data).split(b"\n")
        self._rest[rank] = rest
        for line in whole:
            self._line(rank, line)

    def _line(self, rank: int, line: bytes) -> None:
        if output.as_json:
            output.event({"event": "log", "rank": rank, "text": line.decode("utf-8", "replace")})
        else:
            output.raw(f"[{rank}] ".encode() + line + b"\n")


def show_end(status: JobStatus) -> None:
    """``✓ job 1  exit 0``, or the first real cause; in the tool's own range of codes, whose code it is."""
    from gpuforge.models.job import JobState  # noqa: PLC0415 - start-up cost

    failed = status.state is not JobState.SUCCEEDED
    sign = output.paint("✗", "red") if failed else output.paint("✓", "green")
    code = "no exit code" if status.exit_code is None else f"exit {status.exit_code}"
    if status.exit_code in _OWN_CODES and _is_own(status):
        code += " (the job's own code)"
    took = ""
    if status.started is not None and status.ended is not None:
        took = f"  {(status.ended - status.started).total_seconds():.1f} s"
    cause = "" if status.cause in ("", f"exit {status.exit_code}") else f"  {status.cause}"
    output.line(f"  {sign} {f'job {status.alias}':<12}{f'{code}{cause}':<46}{took}")


def _is_own(status: JobStatus) -> bool:
    """Whether the job's program left with this code; 75 may also stand for a time limit that ended it."""
    return not status.cause or status.cause.endswith(f"exit {status.exit_code}")


def exit_code_of(status: JobStatus, cluster: Cluster) -> int:
    """The job's own code; 75 or 67 when its machine ended before it did."""
    if status.exit_code is not None:
        return status.exit_code
    return _DEADLINE if cluster.forge.clock.now() >= cluster.record.deadline else _LOST


def job_data(status: JobStatus, cluster_name: str) -> dict[str, Any]:
    """A job as a document; ``exit_code`` is always the job's own, the tool's stands in ``error``."""
    return {
        "job_id": status.job_id,
        "alias": status.alias,
        "cluster": cluster_name,
        "name": status.name,
        "state": str(status.state),
        "exit_code": status.exit_code,
        "exit_code_of": _whose(status),
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


def _whose(status: JobStatus) -> str | None:
    if status.exit_code is None:
        return None
    return "job" if status.exit_code not in _OWN_CODES or _is_own(status) else "gpuforge"


def _detached(job: Job, stream: LogStream, what: str, code: int) -> Detached:
    name = job.cluster.name
    alias = job.job_id if stream.alias is None else str(stream.alias)
    if output.as_json:
        data = {"job_id": job.job_id, "alias": stream.alias, "cluster": name, "state": "running"}
        output.failure(
            {
                "code": "detached",
                "exit_code": code,
                "brief": f"{what.strip()}; job {alias} runs on",
                "details": f"{name} is up and may cost money",
                "resolution": f"gpuforge logs -c {name} {alias} -f",
            },
            data=data,
        )
        return Detached(code)
    which = selector(job.cluster)
    output.line(f"{what} — job {alias} runs on.")
    show_still_up(job.cluster)
    output.line(f"  back          gpuforge logs {alias}{which} -f")
    output.line(f"  stop it       gpuforge cancel {alias}{which}")
    output.line(f"  give it back  gpuforge down {name}")
    return Detached(code)
