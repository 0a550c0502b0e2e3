"""From a verb's arguments to a task: the file, the flags over it, and what the user is told about it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuforge.cli.output import output
from gpuforge.errors import SpecError

if TYPE_CHECKING:
    from gpuforge.forge import Forge
    from gpuforge.spec.task import Task

__all__ = ["is_task_file", "read_task"]

_DEFAULT = "gpuforge.yaml"
_SUFFIXES = (".yaml", ".yml")


def is_task_file(text: str) -> bool:
    """Whether a first argument names a task file rather than a command."""
    return text.endswith(_SUFFIXES)


def read_task(
    forge: Forge, file: str | None, *, command: tuple[str, ...] = (), required: bool = True, **flags: Any
) -> Task:
    """The task of a file, of a command line, or of both.

    Args:
        file: Path of the task file; ``gpuforge.yaml`` of this folder when left out.
        command: Stands for the task's ``run``.
        required: Refuse when there is neither a file nor a command.
        flags: Values of :func:`gpuforge.cli.options.task_options`.

    Raises:
        SpecError: Every mistake of file and flags at once.
    """
    from gpuforge.providers import registry  # noqa: PLC0415 - start-up cost
    from gpuforge.spec.load import Overrides, load_task, load_task_text  # noqa: PLC0415

    flags["gpus"] = flags.get("gpus")
    flags["autostop_minutes"] = flags.pop("autostop", None)
    flags["envs"] = flags.pop("env", None) or {}
    flags["secrets"] = flags.pop("secret", None) or {}
    if command:
        flags["run"] = command[0] if len(command) == 1 else shlex.join(command)
    overrides = Overrides(**flags)
    cwd = Path.cwd()
    path = Path(file) if file else cwd / _DEFAULT
    common = {
        "overrides": overrides,
        "environ": forge.environ,
        "cwd": cwd,
        "known_providers": registry.names(),
    }
    if file is None and (command or not required) and not path.exists():
        task = load_task_text("{}", **common)
    elif not path.exists():
        raise SpecError(
            f"no task file {file or _DEFAULT} here",
            details=f"looked in {cwd}",
            resolution="gpuforge init      writes one",
        )
    else:
        task = load_task(path, **common)
    for warning in task.warnings:
        output.warn(warning)
    return task
