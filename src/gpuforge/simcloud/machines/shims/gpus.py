"""nvidia-smi of a simulated machine: the shape it was rented with, in the real program's formats.

Standard library only; any Python from 3.8 on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["Gpu", "gpus_of", "main", "render_list", "render_query", "render_table"]

# product name, MiB and compute capability as NVIDIA's own tool prints them (NVIDIA's data sheets, 2026-11)
_PRODUCTS = {
    "A100": ("NVIDIA A100-SXM4-40GB", 40960, "8.0"),
    "A100-80GB": ("NVIDIA A100-SXM4-80GB", 81920, "8.0"),
    "B200": ("NVIDIA B200", 183359, "10.0"),
    "H100": ("NVIDIA H100 80GB HBM3", 81559, "9.0"),
    "H100-MEGA": ("NVIDIA H100 80GB HBM3", 81559, "9.0"),
    "H200": ("NVIDIA H200", 143771, "9.0"),
    "L4": ("NVIDIA L4", 23034, "8.9"),
    "P100": ("Tesla P100-PCIE-16GB", 16384, "6.0"),
    "P4": ("Tesla P4", 7680, "6.1"),
    "T4": ("Tesla T4", 15360, "7.5"),
    "V100": ("Tesla V100-SXM2-16GB", 16384, "7.0"),
}
_UNITS = {"MiB": ("memory.",), "%": ("utilization.",), "W": ("power.",), "MHz": ("clocks.",)}
_NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)


class Gpu:
    """One simulated GPU, idle."""

    def __init__(self, index: int, model: str, gib: int, machine: dict[str, Any]) -> None:
        product = _PRODUCTS.get(model, ("NVIDIA " + model, gib * 1024, "8.0"))
        self.index = index
        self.name, self.total, self.capability = product
        self.driver = str(machine.get("driver") or "580")
        if self.driver.isdigit():
            self.driver += ".95.05"
        self.cuda = str(machine.get("cuda") or "13.0")
        digest = hashlib.sha256("{}/{}".format(machine.get("instance_id"), index).encode()).hexdigest()
        parts = (digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32])
        self.uuid = "GPU-" + "-".join(parts)
        self.bus = f"00000000:00:{4 + index:02X}.0"

    def field(self, name: str) -> str | None:
        """The value of one queried field without its unit; ``None`` for a field that does not exist."""
        values = {
            "index": self.index, "name": self.name, "gpu_name": self.name, "uuid": self.uuid,
            "gpu_uuid": self.uuid, "count": "", "driver_version": self.driver, "compute_cap": self.capability,
            "pstate": "P8", "pci.bus_id": self.bus, "gpu_bus_id": self.bus, "serial": "[N/A]",
            "compute_mode": "Default", "persistence_mode": "Enabled",
            "mig.mode.current": "[N/A]", "ecc.mode.current": "[N/A]",
            "memory.total": self.total, "memory.used": 0, "memory.free": self.total, "memory.reserved": 0,
            "utilization.gpu": 0, "utilization.memory": 0, "temperature.gpu": 34, "fan.speed": "[N/A]",
            "power.draw": "16.00", "power.limit": "72.00",
            "clocks.sm": 210, "clocks.gr": 210, "clocks.mem": 405,
            "timestamp": time.strftime("%Y/%m/%d %H:%M:%S.000"),
        }  # fmt: skip
        return str(values[name]) if name in values else None


def gpus_of(machine: dict[str, Any]) -> list[Gpu]:
    """The GPUs a machine was rented with."""
    shape = machine.get("accelerator")
    if not shape:
        return []
    model, gib, count = shape
    return [Gpu(index, model, gib, machine) for index in range(count)]


def _unit(field: str) -> str:
    return next((unit for unit, starts in _UNITS.items() if field.startswith(starts)), "")


def render_query(gpus: list[Gpu], fields: list[str], options: set[str]) -> str:
    """``--query-gpu`` as CSV; ``options`` are ``noheader`` and ``nounits``.

    Raises:
        KeyError: A field that the real program does not know either.
    """
    lines = []
    if "noheader" not in options:
        titles = [f if "nounits" in options or not _unit(f) else f"{f} [{_unit(f)}]" for f in fields]
        lines.append(", ".join(titles))
    for gpu in gpus:
        row = []
        for field in fields:
            value = str(len(gpus)) if field == "count" else gpu.field(field)
            if value is None:
                raise KeyError(field)
            unit = "" if "nounits" in options or value.startswith("[") else _unit(field)
            row.append((value + " " + unit).strip())
        lines.append(", ".join(row))
    return "\n".join(lines) + "\n"


def render_list(gpus: list[Gpu]) -> str:
    """``-L``."""
    return "".join(f"GPU {gpu.index}: {gpu.name} (UUID: {gpu.uuid})\n" for gpu in gpus)


def render_table(gpus: list[Gpu]) -> str:
    """The default table."""
    first = gpus[0]
    rule = "+" + "-" * 41 + "+" + "-" * 24 + "+" + "-" * 22 + "+"
    double = "|" + "=" * 41 + "+" + "=" * 24 + "+" + "=" * 22 + "|"
    wide = "+" + "-" * 89 + "+"
    head = "| NVIDIA-SMI {0:<22} Driver Version: {0:<14} CUDA Version: {1:<8} |"
    lines = [
        time.strftime("%a %b %d %H:%M:%S %Y"),
        wide,
        head.format(first.driver, first.cuda).ljust(90)[:90] + "|",
        "|" + "-" * 41 + "+" + "-" * 24 + "+" + "-" * 22 + "+",
        "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |",
        "| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |",
        double,
    ]
    for gpu in gpus:
        usage = f"0MiB / {gpu.total}MiB"
        lines += [
            f"|{gpu.index:>4}  {gpu.name:<28.28}   On  |   {gpu.bus:<16} Off |                  N/A |",
            f"| N/A   34C    P8              16W /  72W |{usage:>23} |      0%      Default |",
            rule,
        ]
    lines += [
        "",
        wide,
        "| Processes:".ljust(90) + "|",
        "|  No running processes found".ljust(90) + "|",
        wide,
    ]
    return "\n".join(lines) + "\n"


def _machine() -> dict[str, Any]:
    path = Path(os.environ.get("GPUFORGE_MACHINE_ROOT", ".")) / "machine.json"
    try:
        machine: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return machine


def _option(words: list[str], *names: str) -> str | None:
    for position, word in enumerate(words):
        key, has_value, value = word.partition("=")
        if key in names:
            return value if has_value else (words[position + 1] if position + 1 < len(words) else "")
    return None


def _chosen(gpus: list[Gpu], words: list[str]) -> list[Gpu]:
    wanted = _option(words, "-i", "--id")
    if not wanted:
        return gpus
    names = wanted.split(",")
    return [gpu for gpu in gpus if {str(gpu.index), gpu.uuid, gpu.bus} & set(names)]


def main(words: list[str]) -> int:
    """Answer as nvidia-smi does; returns the exit code."""
    everything = gpus_of(_machine())
    if not everything:
        sys.stdout.write(_NO_DRIVER)
        return 9
    gpus = _chosen(everything, words)
    if not gpus:
        sys.stdout.write("No devices were found\n")
        return 6
    query = _option(words, "--query-gpu")
    options = {word.strip() for word in (_option(words, "--format") or "").split(",")}
    if query is not None:
        try:
            sys.stdout.write(render_query(gpus, [field.strip() for field in query.split(",")], options))
        except KeyError as error:
            sys.stdout.write(f'Field "{error.args[0]}" is not a valid field to query.\n\n')
            return 2
    elif _option(words, "--query-compute-apps", "--query-apps") is not None:
        sys.stdout.write("" if "noheader" in options else "no running processes\n")
    elif {"-L", "--list-gpus"} & set(words):
        sys.stdout.write(render_list(gpus))
    elif not [word for word in words if word.startswith("-") and word not in ("-i", "--id")]:
        sys.stdout.write(render_table(gpus))
    else:
        sys.stdout.write(
            "nvidia-smi of a simulated machine answers: (no option), -L, -i, --query-gpu=… --format=csv\n"
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
