"""How a job ended: exit records, the reasons of a stop, and a shell's status in words."""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional, Tuple

    from .files import Json

# reason of a stop -> (state, exit code, cause)
STOPS: Dict[str, Tuple[str, Optional[int], str]] = {
    "user": ("cancelled", None, "cancelled"),
    "preemption": ("lost", None, "the machine is being preempted"),
    "deadline": ("failed", 75, "the machine's deadline has come"),
    "shutdown": ("lost", None, "the machine is shutting down"),
}


def make_record(
    rank: int,
    state: str,
    *,
    phase: str,
    cause: str,
    exit_code: Optional[int] = None,
    number: Optional[int] = None,
    is_consequence: bool = False,
) -> Json:
    """An exit record, as the client reads it."""
    return {
        "rank": rank,
        "state": state,
        "exit_code": exit_code,
        "signal": number,
        "phase": phase,
        "cause": cause,
        "ended": time.time(),
        "is_consequence": is_consequence,
    }


class Stop:
    """Why a job is being ended before its time."""

    __slots__ = ("cause", "exit_code", "grace", "is_consequence", "state")

    def __init__(
        self, state: str, cause: str, *, exit_code: Optional[int], grace: float, is_consequence: bool = False
    ) -> None:
        self.state = state
        self.cause = cause
        self.exit_code = exit_code
        self.grace = grace
        self.is_consequence = is_consequence


def decode_status(status: Optional[int]) -> Tuple[Optional[int], Optional[int]]:
    """Exit code and signal of a shell: its own, or the one its last program died of (128 + n)."""
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return code, code - 128 if 128 < code <= 128 + 64 else None


def describe_exit(code: int, number: Optional[int]) -> str:
    """One line for a person."""
    if number is None:
        return f"exit {code}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exit {code}"
    return f"killed by {name}" + (" (out of memory?)" if number == signal.SIGKILL else "")
