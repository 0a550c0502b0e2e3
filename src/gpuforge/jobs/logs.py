"""Following a job: the logs of its nodes as one stream, byte for byte, over connections that may drop."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from gpuforge.errors import ConnectError, GpuforgeError
from gpuforge.models.clock import SystemClock
from gpuforge.node.client import LogPiece, StateChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gpuforge.models.clock import Clock
    from gpuforge.models.job import ExitRecord
    from gpuforge.node.client import Follow, NodeClient

__all__ = ["LogChunk", "LogStream", "Reconnect", "stream"]

_BEHIND = 64  # pieces a slow reader may be behind: bounded memory


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    """Bytes of one node's log and where they begin."""

    rank: int
    offset: int
    data: bytes


_Item: TypeAlias = LogChunk | StateChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """How long to try again when a connection drops.

    Attributes:
        limit_seconds: Without one byte from the node; then ``ConnectError``.
        straggler_seconds: The same, once every other node has ended.
        ask_seconds: After so long a silence the node's cloud is asked whether it has ended.
    """

    limit_seconds: float = 300
    straggler_seconds: float = 15
    ask_seconds: float = 1
    first_delay_seconds: float = 0.2
    longest_delay_seconds: float = 5
    clock: Clock = field(default_factory=SystemClock)


def stream(
    nodes: Sequence[NodeClient],
    job_id: str,
    *,
    follow: bool = True,
    offsets: Mapping[int, int] | None = None,
    reconnect: Reconnect | None = None,
) -> LogStream:
    """The logs of a job from every node.

    Args:
        nodes: In rank order.
        job_id: The job.
        follow: Until it has ended; otherwise only what is there now.
        offsets: Where to begin, by rank (negative: from the end); the beginning by default.
        reconnect: How long to try again after a dropped connection.
    """
    return LogStream(nodes, job_id, wait=follow, offsets=offsets or {}, reconnect=reconnect or Reconnect())


class LogStream:
    """Iterate for :class:`LogChunk`; nothing is lost or repeated over reconnects.

    Attributes:
        alias: The job's small number, when it is known.
        offsets: By rank, where the next byte will come from: what to resume with.
        records: By rank, how the job ended there.
        states: By rank, the last state change seen.
        on_change: Called after each state change, in its place between the chunks.
        ended: Asked about a silent node's rank: why it will never answer again, or None.
    """

    def __init__(
        self,
        nodes: Sequence[NodeClient],
        job_id: str,
        *,
        reconnect: Reconnect,
        follows: Sequence[Follow] = (),
        wait: bool = True,
        offsets: Mapping[int, int] | None = None,
        alias: int | None = None,
    ) -> None:
        self.job_id = job_id
        self.alias = alias
        self.offsets = {node.rank: (offsets or {}).get(node.rank, 0) for node in nodes}
        self.records: dict[int, ExitRecord] = {}
        self.states: dict[int, StateChange] = {}
        self.on_change: Callable[[], None] | None = None
        self.ended: Callable[[int], GpuforgeError | None] | None = None
        self._lost: set[int] = set()
        self._nodes = nodes
        self._wait = wait
        self._reconnect = reconnect
        self._open: dict[int, Follow] = {node.rank: f for node, f in zip(nodes, follows, strict=False)}
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[LogChunk]:
        try:
            for item in self._one(self._nodes[0]) if len(self._nodes) == 1 else self._merged():
                if isinstance(item, LogChunk):
                    yield item
                elif self.on_change is not None:
                    self.on_change()
        finally:
            self.close()

    def close(self) -> None:
        """Give the connections up; the job goes on."""
        self._closed.set()
        for follow in list(self._open.values()):
            follow.close()

    def _one(self, node: NodeClient) -> Iterator[_Item]:
        """One node's pieces, reconnecting by offset."""
        clock, policy = self._reconnect.clock, self._reconnect
        heard, delay = clock.monotonic(), policy.first_delay_seconds
        while not self._closed.is_set():
            try:
                for chunk in self._pieces(node):
                    heard, delay = clock.monotonic(), policy.first_delay_seconds
                    yield chunk
            except ConnectError as error:
                self._drop(node.rank)
                if self._closed.is_set() or self._is_over(node.rank, silent=clock.monotonic() - heard):
                    return
                if clock.monotonic() - heard >= self._patience():
                    if self._has_outcome_without(node.rank):
                        return
                    raise _gave_up(node.rank, self.offsets[node.rank], error) from error
                clock.sleep(delay)
                delay = min(delay * 2, policy.longest_delay_seconds)
            else:
                return

    def _is_over(self, rank: int, *, silent: float) -> bool:
        """Whether a silent node has ended by its cloud's word; its reason is raised by the last of all."""
        if self.ended is None or silent < self._reconnect.ask_seconds:
            return False
        why = self.ended(rank)
        if why is None:
            return False
        self._lost.add(rank)
        if len(self._lost | self.records.keys()) < len(self._nodes) or self._has_outcome_without(rank):
            return True
        raise why

    def _pieces(self, node: NodeClient) -> Iterator[_Item]:
        rank = node.rank
        follow = self._open.get(rank)
        if follow is None:
            follow = node.follow(self.job_id, self.offsets[rank], wait=self._wait)
            self._open[rank] = follow
        started = follow.started()
        if self.offsets[rank] < 0:
            self.offsets[rank] = started.offset
        self.alias = self.alias or started.alias
        for item in follow:
            if isinstance(item, LogPiece):
                self.offsets[rank] = item.offset + len(item.data)
                yield LogChunk(rank=rank, offset=item.offset, data=item.data)
            elif isinstance(item, StateChange):
                self.states[rank] = item
                yield item
            else:
                self.records[rank] = item
        self._drop(rank)

    def _drop(self, rank: int) -> None:
        follow = self._open.pop(rank, None)
        if follow is not None:
            with contextlib.suppress(GpuforgeError):
                follow.close()

    def _patience(self) -> float:
        others_ended = len(self.records) and len(self.records) >= len(self._nodes) - 1
        return self._reconnect.straggler_seconds if others_ended else self._reconnect.limit_seconds

    def _has_outcome_without(self, rank: int) -> bool:
        """The gang has ended and says why; this node has nothing to add."""
        return any(record.rank != rank and record.is_consequence for record in self.records.values())

    def _merged(self) -> Iterator[_Item]:
        pieces: queue.Queue[_Item | GpuforgeError | None] = queue.Queue(_BEHIND)
        threads = [
            threading.Thread(target=self._feed, args=(node, pieces), daemon=True, name=f"logs-{node.rank}")
            for node in self._nodes
        ]
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            item = pieces.get()
            if item is None:
                running -= 1
            elif isinstance(item, GpuforgeError):
                raise item
            else:
                yield item

    def _feed(self, node: NodeClient, pieces: queue.Queue[_Item | GpuforgeError | None]) -> None:
        last: GpuforgeError | None = None
        try:
            for chunk in self._one(node):
                if not self._put(pieces, chunk):
                    return
        except GpuforgeError as error:
            last = error
        self._put(pieces, last)

    def _put(
        self, pieces: queue.Queue[_Item | GpuforgeError | None], item: _Item | GpuforgeError | None
    ) -> bool:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                pieces.put(item, timeout=0.2)
                return True
        return False


def _gave_up(rank: int, offset: int, error: ConnectError) -> ConnectError:
    return ConnectError(
        f"node {rank} did not come back; its log was read up to byte {offset}",
        details=str(error),
        resolution="the job goes on without you; gpuforge status shows whether the machine lives",
    )
