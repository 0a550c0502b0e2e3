"""What a supervisor sees of the gang of a job on several nodes.

The head's supervisor listens; every other node's connects to it and stays connected. No client takes part.
Lines of JSON. Head to member: nonce, mac, turn, go, roll, noted, verdict. Member to head: hello, ready,
stopping, ended, ping. What a member says is said again after a reconnect, so that nothing is lost.
"""

from __future__ import annotations

import abc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Set

    from .files import Json


class Gang(abc.ABC):
    """What a supervisor sees of its gang, whichever its part."""

    def __init__(self, spec: Json, token: str) -> None:
        gang = spec["gang"]
        self.job_id = str(spec["job_id"])
        self.rank = int(spec["rank"])
        self.size = int(spec["num_nodes"])
        self.token = token
        self.listening: Optional[int] = None  # the head's port
        self.turn = False  # the head's queue has come to this job
        self.port: Optional[int] = None  # for the launcher, chosen when all are ready
        self.verdict: Optional[Json] = None  # who ended the gang, and why
        self.own: Optional[Json] = None
        self.settled = False  # nothing more can change this node's record
        self.delivered = False  # nobody waits for a word of this node
        self.reconnect = float(gang.get("reconnect_seconds", 5))
        self.silence = float(gang.get("silence_seconds", 30))
        self.start = float(gang.get("start_seconds", 120))
        self.settle = float(gang.get("settle_seconds", 0.5))

    @property
    def patience(self) -> float:
        """How long the loop may wait before :meth:`service` is due."""
        return 0.25

    @abc.abstractmethod
    def descriptors(self) -> List[int]:
        """What to wait on."""

    @abc.abstractmethod
    def service(self, ready: Set[int], now: float) -> None:
        """Deal with what came, and with what did not come in time."""

    def announce_turn(self) -> None:  # noqa: B027 - only the head has something to announce
        """The head's queue has come to this job."""

    @abc.abstractmethod
    def ready(self) -> None:
        """This node's setup is done."""

    @abc.abstractmethod
    def stopping(self, state: str, cause: str) -> None:
        """This node is being ended, by request or limit: the gang ends with it, at once."""

    @abc.abstractmethod
    def ended(self, record: Json) -> None:
        """This node's tree has ended so."""
