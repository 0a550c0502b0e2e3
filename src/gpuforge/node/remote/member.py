"""A member of the gang, on ranks 1 and up: reports to the head and does what it says."""

from __future__ import annotations

import json
import os
import socket
import time

from .gang import Gang
from .line import Closed, Line, proof, read_line, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Set

    from .files import Json


class Member(Gang):
    """Ranks 1 and up: reports to the head and does what it says."""

    def __init__(self, spec: Json, token: str) -> None:
        super().__init__(spec, token)
        self._address = (str(spec["gang"]["address"]), int(spec["gang"]["port"]))
        self._line: Optional[Line] = None
        self._joined = False
        self._said: List[Json] = []
        now = time.monotonic()
        self._give_up = now + self.start
        self._try_at = now
        self._heard = now
        self._pinged = now

    def descriptors(self) -> List[int]:
        """The connection to the head, while there is one."""
        return [self._line.socket.fileno()] if self._line else []

    def service(self, ready: Set[int], now: float) -> None:
        """Hear the head, ping it, and reach it again when it is away."""
        if self._line is None:
            self._reach(now)
        elif self._line.socket.fileno() in ready:
            self._hear(now)
        elif now - self._heard >= self.silence:
            self._drop(now)
        if self._line is not None and now - self._pinged >= 1:
            self._pinged = now
            self._line.send({"ping": 1})

    def _reach(self, now: float) -> None:
        if self.verdict is not None or self.settled:
            self.delivered = True
            self._try_at = now + 1
        elif now >= self._give_up:
            where = "{}:{}".format(*self._address)
            cause = "node 0 was lost" if self._joined else f"node 0 could not be reached at {where}"
            self.verdict = {"rank": 0, "state": "lost", "cause": cause}
        elif now >= self._try_at:
            self._try_at = now + 0.2
            self._connect()

    def _connect(self) -> None:
        try:
            connection = socket.create_connection(self._address, timeout=2)
        except OSError:
            return
        line = self._shake_hands(connection)
        if line is None:
            connection.close()
            return
        self._line, self._joined, self._heard = line, True, time.monotonic()
        for message in self._said:
            line.send(message)
        self._hear(time.monotonic())  # what the head said in the same breath is in no poll

    def _shake_hands(self, connection: Any) -> Optional[Line]:
        try:
            asked, early = read_line(connection, b"")
            mine = os.urandom(16).hex()
            mac = proof(self.token, "member", asked["nonce"], self.job_id, self.rank)
            hello = {"hello": self.rank, "mac": mac, "nonce": mine}
            connection.sendall(json.dumps(hello).encode() + b"\n")
            answer, early = read_line(connection, early)
            welcome = answer["mac"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not same(welcome, proof(self.token, "head", mine, self.job_id)):
            return None
        return Line(connection, early)

    def _hear(self, now: float) -> None:
        try:
            messages = self._line.receive() if self._line else []
        except Closed:
            self._drop(now)
            return
        if messages:
            self._heard = now
        for message in messages:
            if "roll" in message and self._line:
                self._line.send({"ping": 1})
            self.turn = self.turn or "turn" in message
            self.port = message.get("go", self.port)
            self.verdict = self.verdict or message.get("verdict")
            if "noted" in message:
                self.settled = self.settled or (self.own or {}).get("state") == "succeeded"
                self.delivered = True

    def _drop(self, now: float) -> None:
        if self._line:
            self._line.close()
        self._line = None
        self._give_up = now + self.reconnect
        self._try_at = now

    def _say(self, message: Json) -> None:
        self._said.append(message)
        if self._line:
            self._line.send(message)

    def ready(self) -> None:
        """This node waits at the gate."""
        self._say({"ready": 1})

    def stopping(self, state: str, cause: str) -> None:
        """The gang ends with this node."""
        self._say({"stopping": {"state": state, "cause": cause}})

    def ended(self, record: Json) -> None:
        """This node's end, for the verdict."""
        self.own = record
        self._say({"ended": record})
