"""The commented task file that ``gpuforge init`` writes."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from gpuforge.errors import Mistake, SpecError
from gpuforge.spec.values import parse_accelerator, parse_name
from gpuforge.spec.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["task_template"]


def task_template(name: str, gpu: str) -> str:
    """A starter task file; it loads as it is.

    Args:
        name: The task's name.
        gpu: One GPU in the file's grammar, such as ``L4:1``.

    Raises:
        SpecError: One of them would not load.
    """
    checks: tuple[tuple[str, str, Callable[[str], object]], ...] = (
        ("--name", name, parse_name),
        ("--gpus", gpu, parse_accelerator),
    )
    mistakes: list[Mistake] = []
    for flag, text, parse in checks:
        try:
            parse(text)
        except ValueError as error:
            mistakes.append(Mistake(where=flag, message=str(error)))
    if mistakes:
        raise SpecError(f"the command line has {counted(len(mistakes), 'mistake')}", mistakes=mistakes)
    text = resources.files("gpuforge.spec").joinpath("template.yaml").read_text("utf-8")
    # in quotes where YAML would read something else, such as a name of digits
    shown = name if name[0].isalpha() and name.lower() not in _WORDS else f'"{name}"'
    return text.replace("@NAME@", shown).replace("@GPU@", gpu.strip())


# YAML 1.1 reads these as no text
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
