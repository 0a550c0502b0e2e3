"""What validation may know of the world, passed in: folder, environment, providers; and what it notes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pydantic import ValidationInfo

    from gpuforge.spec.mistakes import KeyPath

__all__ = ["Context", "Note", "context_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something a user should know that is no mistake."""

    message: str
    at: KeyPath


@dataclass(slots=True, kw_only=True)
class Context:
    """The caller's surroundings.

    Attributes:
        cwd: Relative paths start here, as in SkyPilot.
        environ: Gives values to secrets and to variables without one.
        known_providers: What this installation has; ``None`` admits any name.
        notes: Collected while validating.
    """

    cwd: Path
    environ: Mapping[str, str]
    known_providers: Collection[str] | None = None
    notes: list[Note] = field(default_factory=list)

    @classmethod
    def of_process(cls) -> Context:
        """This process's own surroundings, for tasks made in Python."""
        return cls(cwd=Path.cwd(), environ=os.environ)

    def expand(self, path: str) -> Path:
        """An absolute path: ``~`` is the caller's home, relative paths start at the caller's folder."""
        if path == "~" or path.startswith("~/"):
            path = self.environ.get("HOME", str(Path.home())) + path[1:]
        # abspath, not resolve: a workdir that is a symlink keeps its name
        return Path(os.path.abspath(self.cwd / path))  # noqa: PTH100

    def note(self, message: str, *, at: KeyPath) -> None:
        """Remember a note."""
        self.notes.append(Note(message=message, at=at))


def context_of(info: ValidationInfo) -> Context:
    """The context handed to this validation, or the process's own."""
    return info.context if isinstance(info.context, Context) else Context.of_process()
