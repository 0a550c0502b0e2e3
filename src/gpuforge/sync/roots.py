"""What a task says must be on its machines, as roots to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.sync import ignore
from gpuforge.sync.push import Root

if TYPE_CHECKING:
    from pathlib import Path

    from gpuforge.spec.task import Task
    from gpuforge.sync.ignore import Listing

__all__ = ["Preview", "list_roots", "preview", "task_roots"]

_WORKDIR = "workdir"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """One root as a plan shows it, before anything is rented.

    Attributes:
        label: ``workdir`` or the place on the node.
        warning: That it is a credential, or empty.
    """

    label: str
    local: Path
    files: int
    total_bytes: int
    ignored: int
    warning: str = ""


def task_roots(task: Task) -> tuple[Root, ...]:
    """The workdir first, then the mounts in the file's order."""
    workdir = (Root(local=task.workdir, remote=_WORKDIR, rules="workdir"),) if task.workdir else ()
    mounts = (Root(local=mount.local, remote=mount.remote, rules="mount") for mount in task.file_mounts)
    return (*workdir, *mounts)


def list_roots(roots: tuple[Root, ...]) -> dict[Root, Listing]:
    """Each root listed once, for all nodes."""
    return {root: ignore.listing(root.local, rules=root.rules) for root in roots}


def preview(task: Task) -> tuple[Preview, ...]:
    """What would travel."""
    return tuple(
        Preview(
            label=root.remote,
            local=root.local,
            files=sum(1 for entry in listing.entries if entry.kind == b"f"),
            total_bytes=listing.total_bytes,
            ignored=listing.ignored,
            warning=(ignore.credential_warning(root.local) or "") if root.rules == "mount" else "",
        )
        for root, listing in list_roots(task_roots(task)).items()
    )
