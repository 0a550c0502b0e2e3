"""The machines behind instances: started when an instance runs, ended when it ends, noticed when they died.

Called at the end of every settling. All of it can be repeated: a client that dies between any two lines
leaves work that the next one finishes.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Protocol

from gpuforge.errors import GpuforgeError
from gpuforge.simcloud.addresses import candidate_ports
from gpuforge.simcloud.endings import finish_ending, terminate
from gpuforge.simcloud.machines.link import MachineSpec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from gpuforge.simcloud.database import Database
    from gpuforge.simcloud.rules import Rules

__all__ = ["MachineControl", "installed_control", "machine_folder", "machine_spec", "remove_folder", "tend"]

# one that should be off, and says nothing, is given this long before it is killed
_POWER_OFF_SECONDS = 5.0
# and a start that was claimed and never happened is claimed again after this, whoever claimed it
_CLAIM_SECONDS = 150.0


class MachineControl(Protocol):
    """Starting supervisors and clearing up after them; the machines' own module implements it."""

    def boot_many(self, specs: Sequence[MachineSpec], cloud_folder: Path) -> list[int]:
        """Start supervisors that outlive this process; returns their pids.

        Raises:
            OSError, GpuforgeError: They could not be started.
        """
        ...

    def is_alive(self, folder: Path) -> bool:
        """Whether the supervisor of the machine in ``folder`` lives; true as soon as ``boot`` returned."""
        ...

    def sweep(self, folder: Path, instance_id: str) -> int:
        """Kill whatever is left of a machine, its supervisor included; returns how many processes."""
        ...


def installed_control() -> MachineControl:
    """The real thing, loaded on use."""
    from gpuforge.simcloud.machines import control  # noqa: PLC0415 - rows-only clouds never load it

    return control


def machine_folder(cloud_folder: Path, instance_id: str) -> Path:
    """Home, console log and everything else of one machine."""
    return cloud_folder / "machines" / instance_id


def tend(database: Database, rules: Rules, control: MachineControl, now: float) -> None:
    """Start, notice and end machines, as their instances ask for."""
    with database.read() as db:
        rows = db.execute(
            "SELECT * FROM instances WHERE machines='processes' AND status!='DELETED'"
        ).fetchall()
    starting = []
    for row in rows:
        folder = machine_folder(database.folder, row["id"])
        if row["ending"] is not None:
            if row["end_due"] <= now:
                _finish(database, rules, control, row=row, folder=folder, now=now)
        elif row["status"] == "RUNNING":
            if _wants_start(row, control, folder, now):
                starting.append(row)
            elif _has_died(row, control, folder):
                _bury(database, control, row=row, folder=folder)
    if starting:
        _start(database, rules, control, rows=starting, now=now)


def _wants_start(row: sqlite3.Row, control: MachineControl, folder: Path, now: float) -> bool:
    if row["claimed_at"] is None:
        return True
    if row["pid"] is not None:
        return False
    # claimed, and nothing came of it: the claimer died before it could start the supervisor
    is_stale = now - row["claimed_at"] > _CLAIM_SECONDS or not _lives(row["claimed_by"])
    return is_stale and not control.is_alive(folder)


def _has_died(row: sqlite3.Row, control: MachineControl, folder: Path) -> bool:
    return row["pid"] is not None and not control.is_alive(folder)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start(
    database: Database, rules: Rules, control: MachineControl, *, rows: Sequence[sqlite3.Row], now: float
) -> None:
    # The claim is committed before the supervisors are started, so two processes never start one each.
    with database.write() as db:
        claimed = [
            row
            for row in rows
            if db.execute(
                "UPDATE instances SET claimed_at=?, claimed_by=? WHERE id=? AND status='RUNNING'"
                " AND ending IS NULL AND pid IS NULL AND claimed_at IS ?",
                (now, os.getpid(), row["id"], row["claimed_at"]),
            ).rowcount
        ]
    specs = [machine_spec(row, rules, database.folder) for row in claimed]
    try:
        pids = control.boot_many(specs, database.folder) if specs else []
    except (OSError, GpuforgeError) as error:
        _give_up(database, control, claimed, str(error))
        return
    with database.write() as db:
        for row, pid in zip(claimed, pids, strict=True):
            db.execute("UPDATE instances SET pid=COALESCE(pid, ?) WHERE id=?", (pid, row["id"]))


def _give_up(database: Database, control: MachineControl, rows: Sequence[sqlite3.Row], why: str) -> None:
    for row in rows:
        folder = machine_folder(database.folder, row["id"])
        if control.is_alive(folder):
            continue  # somebody else started it after all; it reports its own pid
        control.sweep(folder, row["id"])
        with database.write() as db:
            terminate(db, row["id"], reason=f"its machine could not be started: {why}")


def _bury(database: Database, control: MachineControl, *, row: sqlite3.Row, folder: Path) -> None:
    control.sweep(folder, row["id"])
    with database.write() as db:
        still = db.execute(
            "SELECT 1 FROM instances WHERE id=? AND status='RUNNING' AND ending IS NULL", (row["id"],)
        ).fetchone()
        if still is not None:
            terminate(db, row["id"], reason="its machine died: the supervisor process is gone")


def _finish(
    database: Database, rules: Rules, control: MachineControl, *, row: sqlite3.Row, folder: Path, now: float
) -> None:
    grace = 0.0 if row["ending"] == "preempted" else _POWER_OFF_SECONDS
    if control.is_alive(folder) and now < row["end_due"] + grace:
        return  # it is powering off by itself
    if not row["is_off"] or control.is_alive(folder):
        control.sweep(folder, row["id"])  # else the supervisor said that nothing of it lives, and ended
    if row["termination_action"] != "STOP" or row["ending"] != "preempted":
        remove_folder(folder)
    with database.write() as db:
        finish_ending(db, [row["id"]], at=now, new_id=rules.new_id)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it; folders that a guest made unreadable too. Links are not followed."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    for parent, names, _files in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - names may be any bytes
            if not os.path.islink(path):  # noqa: PTH114
                os.chmod(path, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)


def machine_spec(row: sqlite3.Row, rules: Rules, cloud_folder: Path) -> MachineSpec:
    """The shape a supervisor boots with. Pure."""
    kind = rules.profile.types[row["instance_type"]]
    image = rules.profile.image(row["image"])
    gpu = kind.accelerator
    keys = [entry.partition(":")[2] for entry in json.loads(row["ssh_keys"])]
    return MachineSpec(
        instance_id=row["id"],
        name=row["name"],
        zone=row["zone"],
        project="simulated",
        folder=machine_folder(cloud_folder, row["id"]),
        addresses=(row["host"],),
        ports=candidate_ports(row["port"]),
        user=row["user"],
        ssh_public_keys=tuple(keys),
        vcpus=kind.vcpus,
        memory_gib=float(kind.memory_gib),
        accelerator=(gpu.name, gpu.memory_gib or 0, gpu.count) if gpu else None,
        image=image.id,
        driver=image.driver,
        cuda=image.cuda,
        ssh_server=row["ssh_server"],
        instance_type=kind.name,
        spot=row["capacity_type"] == "spot",
        labels=json.loads(row["labels"]),
        metadata=json.loads(row["metadata"]),
        startup_seconds=row["boot_seconds"],
    )
