"""The serial console: what a machine says before anyone can log in, so that a failed boot is explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gpuforge.models.clock import Clock
    from gpuforge.simcloud.machines.link import MachineSpec

__all__ = ["Console", "boot_lines", "gpu_lines", "tail"]

_LARGEST = 1 << 20


class Console:
    """Appends to ``console.log``: kernel lines by seconds since boot, service lines by the wall clock."""

    def __init__(self, folder: Path, host_name: str, clock: Clock) -> None:
        self._path = folder / "console.log"
        self._host = host_name
        self._clock = clock
        self._started = clock.monotonic()

    def restarted(self) -> None:
        """Seconds count from now on: the machine boots again."""
        self._started = self._clock.monotonic()

    def kernel(self, text: str) -> None:
        """A line of the kernel."""
        self._write(f"[{self._clock.monotonic() - self._started:12.6f}] {text}")

    def service(self, name: str, text: str) -> None:
        """A line of a system service, as journald forwards it."""
        self._write(f"{self._clock.now():%b %d %H:%M:%S} {self._host} {name}: {text}")

    def plain(self, text: str) -> None:
        """A line as it is."""
        self._write(text)

    def _write(self, text: str) -> None:
        line = text.replace("\n", " ").replace("\r", " ")
        if self._path.exists() and self._path.stat().st_size > _LARGEST:
            self._path.replace(self._path.with_suffix(".log.1"))
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")


def boot_lines(spec: MachineSpec) -> list[str]:
    """What the kernel says of this machine's shape."""
    gib = f"{spec.memory_gib:g}"
    return [
        f"Booting image {spec.image} on {spec.instance_type} in {spec.zone} (simulated)",
        f"smpboot: Allowing {spec.vcpus} CPUs, 0 hotplug CPUs",
        f"Memory: {gib} GiB available",
        *([] if spec.accelerator is None else [f"nvidia: loading driver {spec.driver or 'unknown'}"]),
        "EXT4-fs (sda1): mounted filesystem with ordered data mode",
        "systemd[1]: Reached target Multi-User System.",
    ]


def gpu_lines(spec: MachineSpec, host_cpus: int) -> list[str]:
    """What the machine says of its GPUs, and of the ranks that this host can carry."""
    if spec.accelerator is None:
        return []
    name, gib, count = spec.accelerator
    lines = [f"{count} x NVIDIA {name} ({gib} GiB): reported by nvidia-smi, computed on the CPU"]
    if count > host_cpus:
        lines.append(f"GPUs capped: {host_cpus} ranks of {count} per node, as many as this host has cores")
    return lines


def tail(folder: Path, *, lines: int = 40) -> str:
    """The console's last lines; empty when the machine never said anything."""
    try:
        text = (folder / "console.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
