"""Lines of JSON between a gang's head and its members, and the proof of the gang's token."""

from __future__ import annotations

import hmac
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Tuple

    from .files import Json

_LINE = 64 * 1024


class Closed(Exception):  # noqa: N818 - not an error: the other side went
    """The connection ended."""


class Line:
    """Lines of JSON over a non-blocking socket."""

    def __init__(self, connection: Any, received: bytes = b"") -> None:
        connection.setblocking(False)
        self.socket = connection
        self._received = received
        self._ended = False

    def send(self, message: Json) -> bool:
        """Nothing is queued: our messages are small, a peer that does not read them is as good as gone."""
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> List[Json]:
        """The messages that have come; an end of the connection is told after the last of them."""
        while not self._ended:
            try:
                data = self.socket.recv(65536)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            self._received += data
            self._ended = not data or len(self._received) > 4 * _LINE
        if self._ended and b"\n" not in self._received:
            raise Closed
        *lines, self._received = self._received.split(b"\n")
        try:
            return [dict(json.loads(line)) for line in lines]
        except (ValueError, TypeError) as error:
            raise Closed from error

    def close(self) -> None:
        """Give it up."""
        self.socket.close()


def read_line(connection: Any, received: bytes) -> Tuple[Any, bytes]:
    """One line of JSON from a blocking socket, and what came after it."""
    while b"\n" not in received:
        data = connection.recv(4096)
        if not data or len(received) > _LINE:
            raise OSError("no answer")
        received += data
    line, _, rest = received.partition(b"\n")
    return json.loads(line), rest


def proof(token: str, *parts: object) -> str:
    """The proof of whoever knows the token."""
    return hmac.new(token.encode(), "\n".join(map(str, parts)).encode(), "sha256").hexdigest()


def same(left: object, right: str) -> bool:
    """Compare proofs without telling by the time it takes."""
    return hmac.compare_digest(str(left).encode(), right.encode())
