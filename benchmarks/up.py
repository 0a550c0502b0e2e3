"""``gpuforge up`` on the simulated cloud with zero simulated latency: one node, and twenty; then ``down``.

What is timed is gpuforge's own share and real work: real processes, real SSH servers, real logins.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Contestant, summary, version_of

GPUFORGE = str(Path(sys.executable).parent / "gpuforge")


def main() -> None:
    """A few rounds of each size in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(version_of([GPUFORGE, "--version"]))
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "GPUFORGE_HOME": home, "GPUFORGE_FAKE_LATENCY": "0"}
        ups = {n: _contestant("up", n, env) for n in (1, 20)}
        downs = {n: _contestant("down", n, env) for n in (1, 20)}
        # the image's environment is built once, at the first machine ever
        ups[1].once()
        downs[1].once()
        ups[1].runs.clear()
        downs[1].runs.clear()
        for _ in range(options.rounds):
            for nodes, up in ups.items():
                up.once()
                downs[nodes].once()
        subprocess.run([GPUFORGE, "fake", "reset", "--yes"], env=env, check=False, stdout=subprocess.DEVNULL)
    failed = [c.name for c in (*ups.values(), *downs.values()) if any(run.code for run in c.runs)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    for c in (*ups.values(), *downs.values()):
        walls = " ".join(f"{run.wall:.2f}" for run in c.runs)
        print(f"{c.name:<9} median {c.median('wall'):.2f} s  ({walls})  {c.median('megabytes'):.0f} MB")
    summary(
        "up",
        one_s=f"{ups[1].median('wall'):.2f}",
        twenty_s=f"{ups[20].median('wall'):.2f}",
        down_twenty_s=f"{downs[20].median('wall'):.2f}",
        client_mb=f"{max(c.median('megabytes') for c in ups.values()):.0f}",
    )


def _contestant(verb: str, nodes: int, env: dict[str, str]) -> Contestant:
    name = f"bench-{nodes}"
    if verb == "up":
        argv = [GPUFORGE, "up", "--gpus", "L4:1", "--num-nodes", str(nodes), "-c", name, "--yes"]
    else:
        argv = [GPUFORGE, "down", name, "--yes"]
    return Contestant(f"{verb} {nodes}", argv, env)


if __name__ == "__main__":
    main()
