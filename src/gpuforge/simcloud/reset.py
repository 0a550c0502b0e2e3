"""The end of a whole simulated cloud: every machine killed, every file removed."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from gpuforge.errors import StateError
from gpuforge.simcloud.power import remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpuforge.simcloud.database import Database
    from gpuforge.simcloud.power import MachineControl

__all__ = ["remove_cloud"]


def remove_cloud(database: Database, control: Callable[[], MachineControl]) -> int:
    """Kill all machines and remove the cloud's folder; a file that cannot be read is no obstacle.

    Returns:
        How many machines there were.
    """
    folder = database.folder
    ids = _machines(folder)
    lived = _mark_all_gone(database)
    for instance_id in ids:
        control().sweep(folder / "machines" / instance_id, instance_id)
    database.close()
    # One rename takes the file away under every process that holds it: supervisors then find no cloud and
    # power off; nobody can meet a new database beside an old write-ahead log.
    grave = folder.with_name(f"{folder.name}.removed-{os.getpid()}")
    if folder.exists():
        folder.rename(grave)
        for instance_id in ids:
            control().sweep(folder / "machines" / instance_id, instance_id)
        remove_folder(grave)
    return lived


def _machines(folder: Path) -> list[str]:
    machines = folder / "machines"
    return sorted(path.name for path in machines.iterdir()) if machines.is_dir() else []


def _mark_all_gone(database: Database) -> int:
    if not database.exists():
        return 0
    try:
        with database.write() as db:
            return db.execute(
                "UPDATE instances SET status='DELETED', wanted='gone' WHERE status!='DELETED'"
            ).rowcount
    except (sqlite3.DatabaseError, StateError):
        return 0  # unreadable: that may be why it is reset
