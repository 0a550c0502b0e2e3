"""``gpuforge run -- true`` on a live cluster beside ``ssh host true``, same OpenSSH server, whole processes.

``ssh`` makes a new connection with its default key exchange; gpuforge goes over the master it keeps.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Contestant, compare, summary, table, version_of

GPUFORGE = str(Path(sys.executable).parent / "gpuforge")
NAME = "latency"


def main() -> None:
    """Rent one simulated machine behind OpenSSH's sshd, compare, give it back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    print(version_of([GPUFORGE, "--version"]), "·", version_of(["ssh", "-V"]))
    with tempfile.TemporaryDirectory() as home:
        env = {
            **os.environ,
            "GPUFORGE_HOME": home,
            "GPUFORGE_FAKE_LATENCY": "0",
            "GPUFORGE_FAKE_SSHD": "openssh",
        }
        subprocess.run([GPUFORGE, "up", "--gpus", "L4:1", "-c", NAME, "--yes"], env=env, check=True)
        try:
            told = subprocess.run(
                [GPUFORGE, "ssh", "--print", NAME], env=env, check=True, capture_output=True, text=True
            )
            ssh = told.stdout.split()
            # a connection of its own, with the key exchange a user's ssh takes
            new = ["-o", "ControlPath=none", "-o", f"KexAlgorithms={_default_kex()}"]
            field = [
                Contestant("ssh host true", [ssh[0], *new, *ssh[1:], "true"], env),
                Contestant("ssh, kept master", [*ssh, "true"], env),
                Contestant("gpuforge run true", [GPUFORGE, "run", "-c", NAME, "--", "true"], env),
            ]
            compare(field, rounds=options.rounds, warm_up=2)
        finally:
            subprocess.run([GPUFORGE, "down", NAME, "--yes"], env=env, check=True)
    table(field, against="ssh host true")
    ratio = field[2].median("wall") / field[0].median("wall")
    print()
    summary(
        "run_latency",
        run_s=f"{field[2].median('wall'):.3f}",
        ssh_s=f"{field[0].median('wall'):.3f}",
        ratio=f"{ratio:.2f}",
        run_mb=f"{field[2].median('megabytes'):.0f}",
    )


def _default_kex() -> str:
    """What this ssh offers when nobody configures it."""
    told = subprocess.run(["ssh", "-F", "none", "-G", "host"], check=True, capture_output=True, text=True)
    lines = dict(line.split(" ", 1) for line in told.stdout.splitlines() if " " in line)
    return lines["kexalgorithms"]


if __name__ == "__main__":
    main()
