"""How long work tells a person what it waits for: events to a callback, nothing printed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Progress", "Step", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change of one line on the screen.

    Attributes:
        key: Which line: ``instance``, ``ssh``, ``sync``, ``setup``, ``job``, ``outputs``, ``down``.
        text: What is done or waited for, in the user's words.
        done: The line is finished.
        failed: It finished badly.
        current: Units done so far (bytes, nodes), or ``None`` where there is no measure.
        total: Units in all.
        unit: ``bytes``, ``nodes``, ``files``.
        deadline: Until when this wait lasts at most.
    """

    key: str
    text: str
    done: bool = False
    failed: bool = False
    current: int | None = None
    total: int | None = None
    unit: str = ""
    deadline: datetime | None = None


class Progress(Protocol):
    """A callback; called from any thread."""

    def __call__(self, step: Step, /) -> None:
        """Show the step."""
        ...


def silent(_step: Step, /) -> None:
    """The default: nothing is shown."""
