"""From a refusal deep inside validation to a line of the user's file, or to the flag that said it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpuforge.errors import Mistake, SpecError
from gpuforge.spec.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpuforge.models.resources import Mark

__all__ = ["KeyPath", "Marks", "Origins", "Refusal", "Refused", "dotted", "spec_error"]

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something refused.

    Attributes:
        message: What is wrong and what to write instead.
        at: Where, below the thing being validated (or from the root, once located).
        on_key: The key itself is at fault, not its value.
    """

    message: str
    at: KeyPath = ()
    on_key: bool = False


class Refused(ValueError):  # noqa: N818 - caught by pydantic as a value error, never seen by users
    """Carries one refusal or many out of a validator."""

    def __init__(self, *refusals: Refusal) -> None:
        super().__init__("; ".join(refusal.message for refusal in refusals))
        self.refusals = refusals

    @classmethod
    def saying(cls, message: str) -> Refused:
        """One refusal of the whole value, whose shape is wrong."""
        return cls(Refusal(message=message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Where a key and its value stand; the root and list items have no key."""

    key: Mark
    value: Mark


@dataclass(slots=True, kw_only=True)
class Origins:
    """Where each value of a task came from.

    Attributes:
        file: Name of the file as shown to the user; empty for a task made in Python or by flags alone.
        marks: Places in the file, by canonical key path.
        flags: Flags that set a value, by canonical key path.
    """

    file: str = ""
    marks: Mapping[KeyPath, Marks] = field(default_factory=dict)
    flags: dict[KeyPath, str] = field(default_factory=dict)

    def flag(self, path: KeyPath) -> str | None:
        """The flag that set ``path`` or something around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.flags:
                return self.flags[path[:length]]
        return None

    def mark(self, path: KeyPath, *, on_key: bool = False) -> Mark | None:
        """The place in the file nearest to ``path``; ``None`` when the file has no say in it."""
        if self.flag(path) is not None:
            return None
        for length in range(len(path), -1, -1):
            marks = self.marks.get(path[:length])
            if marks is not None:
                return marks.key if on_key and length == len(path) else marks.value
        return None

    def mistake(self, refusal: Refusal) -> Mistake:
        """The refusal, located."""
        flag = self.flag(refusal.at)
        if flag is not None:
            return Mistake(where=flag, message=refusal.message)
        mark = self.mark(refusal.at, on_key=refusal.on_key)
        if mark is None:
            return Mistake(where=dotted(refusal.at) or "task", message=refusal.message)
        return Mistake(where=str(mark), message=refusal.message, snippet=mark.snippet)

    def order(self, refusal: Refusal) -> tuple[int, int, int]:
        """Sorts refusals as a reader meets them: the file from top to bottom, then flags."""
        mark = self.mark(refusal.at, on_key=refusal.on_key)
        return (1, 0, 0) if mark is None else (0, mark.line, mark.column)


def dotted(path: KeyPath) -> str:
    """``resources.any_of.0.cpus``."""
    return ".".join(str(part) for part in path)


def spec_error(origins: Origins, refusals: Iterable[Refusal]) -> SpecError:
    """One error with every refusal located, in reading order, each once."""
    ordered = sorted(refusals, key=origins.order)
    mistakes = list(dict.fromkeys(origins.mistake(refusal) for refusal in ordered))
    in_file = any(origins.mark(refusal.at) is not None for refusal in ordered)
    by_flag = any(origins.flag(refusal.at) is not None for refusal in ordered)
    subject = " and ".join(
        name for name, there in ((origins.file, in_file), ("the command line", by_flag)) if there
    )
    verb = "have" if in_file and by_flag else "has"
    return SpecError(
        f"{subject or 'the task'} {verb} {counted(len(mistakes), 'mistake')}",
        mistakes=mistakes,
    )
