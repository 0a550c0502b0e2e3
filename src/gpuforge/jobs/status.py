"""Where a job stands: the records of its nodes, merged into one state, one exit code and one cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.errors import GpuforgeError, JobError
from gpuforge.models.job import JobState, JobStatus
from gpuforge.transport.fanout import each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpuforge.models.job import ExitRecord
    from gpuforge.node.client import NodeClient, NodeStatus

__all__ = ["first_cause", "job_status", "list_jobs", "merge"]

_KILLED = 137  # what a job reports whose first cause left no exit code of its own
_SHORTEST_ID = 8  # fewer digits are an alias
_COURSE = (JobState.QUEUED, JobState.WAITING, JobState.RUNNING)


def job_status(nodes: Sequence[NodeClient], job_id: str) -> JobStatus:
    """One job over all its nodes; ``job_id`` may be an alias (``1``, ``2`` …).

    Raises:
        JobError: No node knows it.
        ConnectError: No node answered.
    """
    is_alias = job_id.isdigit() and len(job_id) < _SHORTEST_ID
    rows, unreachable = _ask(nodes, None if is_alias else [job_id])
    for found, parts in _by_job(rows).items():
        if found == job_id or (is_alias and parts[0].alias == int(job_id)):
            return merge(parts, unreachable=unreachable)
    raise JobError(f"there is no job {job_id}", resolution="gpuforge jobs  lists what there is")


def list_jobs(nodes: Sequence[NodeClient]) -> list[JobStatus]:
    """Every job of the cluster, oldest first.

    Raises:
        ConnectError: No node answered.
    """
    rows, unreachable = _ask(nodes, None)
    return [merge(parts, unreachable=unreachable) for _, parts in sorted(_by_job(rows).items())]


def merge(parts: Sequence[NodeStatus], *, unreachable: Mapping[int, str] | None = None) -> JobStatus:
    """The job as a whole, from what its nodes say (in rank order; the head's alias counts).

    A job has ended when every node that answered says so, and either all answered or a record names the
    one that did not.
    """
    records = tuple(part.record for part in parts if part.record is not None)
    absent = dict(unreachable or {})
    explained = not absent or any(record.is_consequence for record in records)
    if len(records) == len(parts) and explained:
        return _final(parts, records)
    state = _course(parts) if len(records) < len(parts) else JobState.RUNNING
    ranks = ", ".join(map(str, sorted(absent)))
    started = [part.started for part in parts if part.started is not None]
    return JobStatus(
        job_id=parts[0].job_id,
        alias=parts[0].alias,
        name=parts[0].name,
        state=state,
        submitted=min(part.submitted for part in parts),
        started=min(started, default=None),
        ended=None,
        exit_code=None,
        cause=f"node {ranks} does not answer" if absent else "",
        records=records,
    )


def first_cause(records: Sequence[ExitRecord]) -> ExitRecord | None:
    """The earliest record that is no success and no consequence of another; ``None`` when all succeeded."""
    failures = [record for record in records if record.state is not JobState.SUCCEEDED]
    real = [record for record in failures if not record.is_consequence]
    return min(real or failures, key=lambda record: record.ended, default=None)


def _final(parts: Sequence[NodeStatus], records: tuple[ExitRecord, ...]) -> JobStatus:
    first = first_cause(records)
    started = [part.started for part in parts if part.started is not None]
    return JobStatus(
        job_id=parts[0].job_id,
        alias=parts[0].alias,
        name=parts[0].name,
        state=first.state if first else JobState.SUCCEEDED,
        submitted=min(part.submitted for part in parts),
        started=min(started, default=None),
        ended=max(record.ended for record in records),
        exit_code=_code(first),
        cause=_cause(first, several=len(parts) > 1),
        records=records,
    )


def _code(first: ExitRecord | None) -> int:
    if first is None:
        return 0
    # a job that was ended is no success, even where its program left with 0
    return first.exit_code or _KILLED


def _cause(first: ExitRecord | None, *, several: bool) -> str:
    if first is None:
        return ""
    if first.is_consequence or not several or first.cause.startswith("node "):
        return first.cause
    verb = {JobState.FAILED: "failed: ", JobState.LOST: "was lost: "}.get(first.state, "")
    return f"node {first.rank} {verb}{first.cause}" if verb else first.cause


def _course(parts: Sequence[NodeStatus]) -> JobState:
    """The state of a job under way: that of the node that is behind, running once any has ended."""
    states = [part.state for part in parts if not part.state.is_final]
    if len(states) < len(parts):
        return JobState.RUNNING
    return min(states, key=_COURSE.index)


def _ask(
    nodes: Sequence[NodeClient], job_ids: Sequence[str] | None
) -> tuple[list[NodeStatus], dict[int, str]]:
    """All rows in rank order, and the nodes that did not answer."""

    def one(node: NodeClient) -> tuple[NodeStatus, ...] | GpuforgeError:
        try:
            return node.status(job_ids)
        except GpuforgeError as error:
            return error

    if len(nodes) == 1:
        return list(nodes[0].status(job_ids)), {}
    answers = each(nodes, one)
    rows: list[NodeStatus] = []
    unreachable: dict[int, str] = {}
    for node, answer in zip(nodes, answers, strict=True):
        if isinstance(answer, GpuforgeError):
            unreachable[node.rank] = str(answer)
            failure = answer
        else:
            rows.extend(answer)
    if len(unreachable) == len(nodes):
        raise failure
    return rows, unreachable


def _by_job(rows: Sequence[NodeStatus]) -> dict[str, list[NodeStatus]]:
    grouped: dict[str, list[NodeStatus]] = {}
    for row in rows:
        grouped.setdefault(row.job_id, []).append(row)
    return grouped
