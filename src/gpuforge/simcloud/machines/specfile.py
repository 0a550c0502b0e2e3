"""``machine.json`` and its small neighbours: what a machine's folder says about it to other processes."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpuforge.errors import StateError
from gpuforge.simcloud.machines.link import MachineSpec

__all__ = [
    "new_marker",
    "read_marker",
    "read_record",
    "read_spec",
    "replace_text",
    "write_record",
    "write_spec",
]

_SPEC = "machine.json"
_MARKER = "marker"


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_spec(spec: MachineSpec) -> None:
    """Write ``machine.json`` into the machine's folder."""
    row = asdict(spec) | {
        "folder": str(spec.folder),
        "labels": dict(spec.labels),
        "metadata": dict(spec.metadata),
    }
    replace_text(spec.folder / _SPEC, json.dumps(row, indent=1, sort_keys=True) + "\n")


def read_spec(folder: Path) -> MachineSpec:
    """Read ``machine.json``.

    Raises:
        StateError: It is missing or not one of ours.
    """
    path = folder / _SPEC
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("addresses", "ports", "ssh_public_keys"):
            row[name] = tuple(row[name])
        row["folder"] = Path(row["folder"])
        row["accelerator"] = None if row["accelerator"] is None else tuple(row["accelerator"])
        return MachineSpec(**row)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{path} does not describe a machine", details=str(error)) from error


def new_marker(folder: Path, instance_id: str) -> str:
    """Give the machine its marker, ``<instance id>-<random>``: no other machine or cloud has it."""
    marker = f"{instance_id}-{secrets.token_hex(8)}"
    replace_text(folder / _MARKER, marker)
    return marker


def read_marker(folder: Path, instance_id: str) -> str | None:
    """The machine's marker, or ``None`` when it was never started."""
    try:
        marker = (folder / _MARKER).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    # a damaged file must not make us look for something shorter than a marker
    return marker if marker.startswith(f"{instance_id}-") and len(marker) > len(instance_id) + 16 else None


def write_record(path: Path, *, pid: int, ticks: str | None) -> None:
    """Remember one process so that its pid, once reused, is not taken for it."""
    replace_text(path, json.dumps({"pid": pid, "ticks": ticks}))


def read_record(path: Path) -> tuple[int, str] | None:
    """A process remembered by :func:`write_record`: pid and start, or ``None``."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return int(row["pid"]), str(row["ticks"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
