"""The gang's head, on rank 0: gives the turn, the start and the verdict."""

from __future__ import annotations

import os
import time

from .gang import Gang
from .line import Closed, Line, proof, same
from .ports import free_port, listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Set, Tuple

    from .files import Json


class Seat:
    """A member, as the head knows it."""

    def __init__(self) -> None:
        self.line: Optional[Line] = None
        self.joined = False
        self.heard = 0.0  # the last word
        self.gone: Optional[float] = None  # since when there is no connection
        self.ready = False
        self.record: Optional[Json] = None


class Head(Gang):
    """Rank 0: gives the turn, the start and the verdict."""

    def __init__(self, spec: Json, token: str) -> None:
        super().__init__(spec, token)
        self._listener = listen(str(spec["gang"]["address"]))
        self.listening = int(self._listener.getsockname()[1])
        self._strangers: Dict[Line, Tuple[str, float]] = {}
        self._seats = {rank: Seat() for rank in range(1, self.size)}
        self._failures: Dict[int, Tuple[float, Json]] = {}
        self._ready = False
        self._trial: Optional[float] = None
        self._join_by = time.monotonic() + self.start
        self._pinged = 0.0

    def descriptors(self) -> List[int]:
        """The listener, strangers and members."""
        lines = [*self._strangers, *(seat.line for seat in self._seats.values() if seat.line)]
        return [self._listener.fileno(), *(line.socket.fileno() for line in lines)]

    def service(self, ready: Set[int], now: float) -> None:
        """Hear members, ping them, and judge."""
        if self._listener.fileno() in ready:
            self._accept(now)
        self._greet(ready, now)
        for rank, seat in self._seats.items():
            if seat.line is not None and seat.line.socket.fileno() in ready:
                self._hear(rank, seat, now)
        if now - self._pinged >= 1:
            self._pinged = now
            self._tell({"ping": 1})
        self._open_the_gate()
        self._judge(now)
        self._close_the_books()

    def _accept(self, now: float) -> None:
        while len(self._strangers) < 64:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            line = Line(connection)
            nonce = os.urandom(16).hex()
            line.send({"nonce": nonce})
            self._strangers[line] = (nonce, now)

    def _greet(self, ready: Set[int], now: float) -> None:
        for line, (nonce, since) in list(self._strangers.items()):
            try:
                messages = line.receive() if line.socket.fileno() in ready else []
            except Closed:
                messages = [{}]
            if messages:
                del self._strangers[line]
                self._seat(line, nonce, messages[0], now)
                for message in messages[1:]:
                    self._note(int(messages[0]["hello"]), message)
            elif now - since > 5:
                del self._strangers[line]
                line.close()

    def _seat(self, line: Line, nonce: str, hello: Json, now: float) -> None:
        rank = hello.get("hello")
        wanted = proof(self.token, "member", nonce, self.job_id, rank)
        if rank not in self._seats or not same(hello.get("mac"), wanted):
            line.close()
            return
        seat = self._seats[rank]
        if seat.line is not None:
            seat.line.close()
        seat.line, seat.joined, seat.heard, seat.gone = line, True, now, None
        line.send({"mac": proof(self.token, "head", hello.get("nonce"), self.job_id)})
        if self.turn:
            line.send({"turn": 1})
        if self.port is not None:
            line.send({"go": self.port})
        if self.verdict is not None:
            line.send({"verdict": self.verdict})

    def _hear(self, rank: int, seat: Seat, now: float) -> None:
        try:
            messages = seat.line.receive() if seat.line else []
        except Closed:
            if seat.line:
                seat.line.close()
            seat.line, seat.gone = None, now
            return
        if messages:
            seat.heard = now
        for message in messages:
            self._note(rank, message)

    def _note(self, rank: int, message: Json) -> None:
        seat = self._seats[rank]
        if "ready" in message:
            seat.ready = True
        if "stopping" in message:
            stopping = message["stopping"]
            self._pronounce(rank, str(stopping["state"]), str(stopping["cause"]))
        if "ended" in message:
            seat.record = message["ended"]
            if seat.line is not None:
                seat.line.send({"noted": 1})
            if seat.record["state"] != "succeeded":
                self._failures.setdefault(rank, (time.monotonic(), seat.record))

    def _tell(self, message: Json) -> None:
        for seat in self._seats.values():
            if seat.line is not None:
                seat.line.send(message)

    def _open_the_gate(self) -> None:
        if self.port is None and self._ready and all(seat.ready for seat in self._seats.values()):
            self.port = free_port()
            self._tell({"go": self.port})

    def announce_turn(self) -> None:
        """Members may begin their setup."""
        self.turn = True
        self._tell({"turn": 1})

    def ready(self) -> None:
        """This node waits at the gate."""
        self._ready = True
        self._open_the_gate()

    def stopping(self, state: str, cause: str) -> None:
        """The gang ends with this node."""
        self._pronounce(0, state, cause)

    def ended(self, record: Json) -> None:
        """This node's end, for the verdict."""
        self.own = record
        if record["state"] != "succeeded":
            self._failures.setdefault(0, (time.monotonic(), record))

    def _is_lost(self, seat: Seat, now: float) -> bool:
        if not seat.joined or seat.record is not None:
            return False
        if seat.line is None:
            return seat.gone is not None and now - seat.gone >= self.reconnect
        silent = now - seat.heard
        unanswered = self._trial is not None and seat.heard < self._trial <= now - self.reconnect
        return silent >= self.silence or unanswered

    def _judge(self, now: float) -> None:
        """Find the first real cause: a node that vanished goes before those that failed for want of it."""
        if self.verdict is not None:
            return
        absent = [rank for rank, seat in self._seats.items() if not seat.joined]
        if absent and now >= self._join_by:
            self._pronounce(absent[0], "failed", _join_cause(absent, self.start))
            return
        lost = [rank for rank, seat in self._seats.items() if self._is_lost(seat, now)]
        if not lost and not self._failures:
            return
        if self._trial is None:
            self._trial = now
            self._tell({"roll": 1})  # a machine without power is only found out by asking
        if now - self._trial < self.settle or self._is_unclear(now):
            return
        if lost:
            rank = min(lost, key=lambda rank: self._seats[rank].heard)
            self._pronounce(rank, "lost", f"node {rank} was lost")
        else:
            rank, (_, record) = min(self._failures.items(), key=lambda item: item[1][0])
            self._pronounce(rank, record["state"], record["cause"])

    def _is_unclear(self, now: float) -> bool:
        trial = self._trial or 0.0
        return any(
            seat.joined
            and seat.record is None
            and not self._is_lost(seat, now)
            and (seat.line is None or seat.heard < trial)
            for seat in self._seats.values()
        )

    def _pronounce(self, rank: int, state: str, cause: str) -> None:
        if self.verdict is None:
            named = (
                cause if state == "cancelled" or cause.startswith("node") else f"node {rank} failed: {cause}"
            )
            self.verdict = {"rank": rank, "state": state, "cause": named}
            self._tell({"verdict": self.verdict})

    def _close_the_books(self) -> None:
        heard_of = all(seat.record is not None for seat in self._seats.values())
        self.settled = heard_of and not self._failures
        # members hang up first: an end from here could overtake the last words to them
        self.delivered = all(seat.line is None for seat in self._seats.values())


def _join_cause(absent: List[int], seconds: float) -> str:
    names = ", ".join(map(str, absent))
    return f"node{'s' if len(absent) > 1 else ''} {names} did not join within {seconds:.0f} s"
