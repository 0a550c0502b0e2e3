"""The doors to task files: from a path, from text, or from flags alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.spec.context import Context
from gpuforge.spec.document import Document, read_document
from gpuforge.spec.mistakes import Origins
from gpuforge.spec.overrides import Overrides
from gpuforge.spec.source import DEFAULT_NAME, read_source
from gpuforge.spec.task import Task

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["DEFAULT_NAME", "Overrides", "load_task", "load_task_text", "task_from_overrides"]


def load_task(
    source: Path,
    *,
    overrides: Overrides | None = None,
    environ: Mapping[str, str],
    cwd: Path,
    known_providers: Collection[str] | None = None,
) -> Task:
    """Read a task file.

    Args:
        source: The file; a relative path starts at ``cwd``.
        overrides: What flags say; it wins over the file.
        environ: Gives values to secrets and to variables without one.
        cwd: The caller's folder; relative paths in the file start here, as in SkyPilot.
        known_providers: What this installation has; ``None`` admits any name.

    Raises:
        SpecError: With every mistake at once, each with file, line and column.
    """
    document, path = read_source(source, cwd=cwd)
    context = Context(cwd=cwd, environ=environ, known_providers=known_providers)
    return Task.from_document(document, context, overrides=overrides, source=path)


def load_task_text(
    text: str | bytes,
    *,
    name: str = DEFAULT_NAME,
    overrides: Overrides | None = None,
    environ: Mapping[str, str],
    cwd: Path,
    known_providers: Collection[str] | None = None,
) -> Task:
    """As :func:`load_task`, for a file's content; ``name`` stands in messages.

    Raises:
        SpecError: With every mistake at once.
    """
    document = read_document(text, file=name)
    context = Context(cwd=cwd, environ=environ, known_providers=known_providers)
    return Task.from_document(document, context, overrides=overrides)


def task_from_overrides(
    overrides: Overrides,
    *,
    environ: Mapping[str, str],
    cwd: Path,
    known_providers: Collection[str] | None = None,
) -> Task:
    """A task without a file: ``gpuforge run -- python train.py``.

    Raises:
        SpecError: With every mistake at once, each at its flag.
    """
    context = Context(cwd=cwd, environ=environ, known_providers=known_providers)
    return Task.from_document(Document(values={}, origins=Origins()), context, overrides=overrides)
