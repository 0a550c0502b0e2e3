"""Timing whole processes side by side: interleaved rounds, medians, ratios, the kernel's accounting."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PEERS", "Contestant", "Run", "compare", "peer_binary", "summary", "table", "version_of"]

PEERS = Path(__file__).parent / ".peers"


@dataclass(frozen=True)
class Run:
    """One finished process: wall and CPU seconds, peak memory in MB, exit code."""

    wall: float
    cpu: float
    megabytes: float
    code: int


@dataclass
class Contestant:
    """A command under a name, and its runs."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    runs: list[Run] = field(default_factory=list)

    def once(self) -> None:
        """Run it, from start to reaped."""
        began = time.perf_counter()
        process = subprocess.Popen(
            list(self.argv),
            env=None if self.env is None else dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)
        self.runs.append(Run(wall, usage.ru_utime + usage.ru_stime, peak, process.returncode))

    def median(self, what: str) -> float:
        """Median of ``wall``, ``cpu`` or ``megabytes``."""
        return statistics.median(getattr(run, what) for run in self.runs)


def compare(contestants: Sequence[Contestant], *, rounds: int, warm_up: int = 1) -> None:
    """Run all in turn, round after round; the first ``warm_up`` rounds do not count.

    Raises:
        SystemExit: A command failed: its time would say nothing.
    """
    for number in range(rounds + warm_up):
        for contestant in contestants:
            contestant.once()
            if contestant.runs[-1].code != 0:
                sys.exit(f"{contestant.name} exited with {contestant.runs[-1].code}: {contestant.argv}")
            if number < warm_up:
                contestant.runs.clear()


def table(contestants: Sequence[Contestant], *, against: str) -> None:
    """Medians, and the ratio to the contestant named ``against``."""
    base = next(c for c in contestants if c.name == against).median("wall")
    width = max(len(c.name) for c in contestants)
    print(f"{'':<{width}}  {'wall s':>8} {'min':>7} {'max':>7} {'cpu s':>7} {'MB':>6}  × {against}")
    for c in contestants:
        walls = [run.wall for run in c.runs]
        print(
            f"{c.name:<{width}}  {c.median('wall'):8.3f} {min(walls):7.3f} {max(walls):7.3f}"
            f" {c.median('cpu'):7.3f} {c.median('megabytes'):6.0f}  {c.median('wall') / base:.2f}"
        )


def peer_binary(package: str, command: str, *, install: bool) -> str | None:
    """A peer's command in an environment of its own under ``.peers``; installed there when asked."""
    folder = PEERS / command
    binary = folder / "bin" / command
    if not binary.exists() and install:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "-q", package], check=True)
    return str(binary) if binary.exists() else None


def version_of(argv: Sequence[str]) -> str:
    """The first line a command prints of its version."""
    done = subprocess.run(list(argv), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    text = (done.stdout + done.stderr).strip().splitlines()
    return text[0] if text else "unknown"


def summary(name: str, **figures: object) -> None:
    """The one line that ends every benchmark."""
    print(f"{name}: " + " ".join(f"{key}={value}" for key, value in figures.items()))
