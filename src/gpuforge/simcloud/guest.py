"""What can be seen of an instance's inside from outside: guest attributes and the serial console's tail."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.simcloud.power import machine_folder
from gpuforge.simcloud.settings import MachineMode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

    from gpuforge.simcloud.instances import InstanceRow

__all__ = ["GuestView", "view_guest"]

_TAIL_BYTES = 8192
_TAIL_LINES = 20
_ED25519 = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestView:
    """An instance with what its guest published and printed; both empty until it boots."""

    instance: InstanceRow
    attributes: Mapping[str, str]
    console_tail: str


def view_guest(db: sqlite3.Connection, cloud_folder: Path, instance: InstanceRow, now: float) -> GuestView:
    """Read both; rows without a machine show what a booted one would."""
    if instance.machines == MachineMode.NONE:
        return _imagined(instance, now)
    attributes = {
        row["key"]: row["value"]
        for row in db.execute("SELECT key, value FROM attributes WHERE instance_id=?", (instance.id,))
    }
    log = machine_folder(cloud_folder, instance.id) / "console.log"
    return GuestView(instance=instance, attributes=attributes, console_tail=_tail(log))


def _imagined(instance: InstanceRow, now: float) -> GuestView:
    if instance.ready_at is None or instance.ready_at > now:
        return GuestView(instance=instance, attributes={}, console_tail=f"{instance.name} is booting")
    # well-formed, its own for every instance, and a key that nobody holds
    blob = base64.b64encode(_ED25519 + hashlib.sha256(instance.id.encode()).digest()).decode()
    return GuestView(
        instance=instance,
        attributes={"hostkeys/ssh-ed25519": blob},
        console_tail=f"{instance.name} has booted; nothing listens (no machine behind it)",
    )


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read()
    except OSError:
        return ""
    text = data.decode("utf-8", "replace")
    # a guest writes what it likes: nothing that moves a terminal's cursor gets through
    lines = ["".join(c if c.isprintable() or c == "\t" else "?" for c in line) for line in text.splitlines()]
    return "\n".join(lines[-_TAIL_LINES:])
