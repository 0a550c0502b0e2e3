"""From a verb's arguments to a task: the file, the flags over it, and what the user is told about it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuforge.cli.options import MACHINE_FLAGS
from gpuforge.cli.output import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuforge.forge import Forge
    from gpuforge.spec.task import Task

__all__ = ["command_text", "is_task_file", "read_task"]

_SUFFIXES = (".yaml", ".yml")


def is_task_file(text: str) -> bool:
    """Whether a first argument names a task file rather than a command."""
    return text.endswith(_SUFFIXES)


def command_text(words: Sequence[str]) -> str:
    """Bash text of a command line: one word is a script as it stands, several keep their borders."""
    return words[0] if len(words) == 1 else shlex.join(words)


def read_task(forge: Forge, file: str | None, *, command: tuple[str, ...] = (), **flags: Any) -> Task:
    """The task of a file, of a command line, or of both.

    Args:
        forge: For its environment.
        file: Path of the task file; when left out, ``gpuforge.yaml`` of this folder, which may be absent
            where flags say which machines.
        command: Stands for the task's ``run``.
        flags: Values of :func:`gpuforge.cli.options.task_options`.

    Raises:
        SpecError: Every mistake of file and flags at once.
    """
    from gpuforge.providers import registry  # noqa: PLC0415 - start-up cost
    from gpuforge.spec.load import DEFAULT_NAME, Overrides, load_task, task_from_overrides  # noqa: PLC0415

    flags["autostop_minutes"] = flags.pop("autostop", None)
    flags["envs"] = flags.pop("env", None) or {}
    flags["secrets"] = flags.pop("secret", None) or {}
    if command:
        flags["run"] = command_text(command)
    asks = any(flags.get(name) is not None for name in MACHINE_FLAGS)
    overrides = Overrides(**flags)
    cwd, known = Path.cwd(), registry.names()
    path = cwd / (file or DEFAULT_NAME)
    if file is None and (command or (asks and not path.exists())):
        task = task_from_overrides(overrides, environ=forge.environ, cwd=cwd, known_providers=known)
    else:
        task = load_task(path, overrides=overrides, environ=forge.environ, cwd=cwd, known_providers=known)
    for warning in task.warnings:
        output.warn(warning)
    return task
