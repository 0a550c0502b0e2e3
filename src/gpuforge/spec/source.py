"""Finding and reading a task file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.errors import SpecError
from gpuforge.spec.document import Document, read_document
from gpuforge.spec.wording import quoted

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DEFAULT_NAME", "read_source", "shown_name"]

DEFAULT_NAME = "gpuforge.yaml"


def read_source(path: str | Path, *, cwd: Path) -> tuple[Document, Path]:
    """Read a task file.

    Args:
        path: Relative to ``cwd``, or absolute.
        cwd: The caller's folder.

    Returns:
        The document and the file's absolute path.

    Raises:
        SpecError: It is not there, cannot be read, or is not one YAML map.
    """
    source = cwd / path
    name = shown_name(source, cwd=cwd)
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        raise SpecError(
            f"there is no task file {quoted(name)}",
            details=f"looked for {source}",
            resolution="write one with gpuforge init, or name another: gpuforge run FILE",
        ) from None
    except IsADirectoryError:
        raise SpecError(
            f"{quoted(name)} is a folder, not a task file", resolution=f"gpuforge run {name}/{DEFAULT_NAME}"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(f"the task file {quoted(name)} cannot be read", details=str(reason)) from None
    return read_document(data, file=name), source.absolute()


def shown_name(source: Path, *, cwd: Path) -> str:
    """A file's name in messages: relative where it lies below the caller's folder."""
    return str(source.relative_to(cwd)) if source.is_relative_to(cwd) else str(source)
