"""Train from a Python script: the machines are given back when the block ends, also on an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gpuforge as gf

HERE = Path(__file__).resolve().parent
RESNET = HERE.parent / "train-resnet"
DATA = RESNET / "data"


def train(epochs: int) -> int:
    """Rent, train, bring the checkpoint back, give back; returns the job's own exit code."""
    forge = gf.Forge()
    task = gf.Task(
        name="python-api",
        resources={"accelerators": "L4:1"},
        workdir=RESNET,
        file_mounts={"~/data": DATA},
        setup="pip install -q -r requirements.txt",
        run=f"python train.py --data ~/data --epochs {epochs} --out runs",
        max_duration="1h",
    )
    plan = forge.plan(task)  # costs nothing
    print(f"{plan.best.offering.instance_type} at ${plan.best.usd_per_hour} per hour")
    with forge.up(task, plan=plan) as cluster:
        print(cluster)
        job = cluster.run(task)
        for line in job.logs(follow=True):
            print(line, end="", flush=True)
        result = job.wait()
        report = cluster.pull(["runs"], into=HERE)
        print(f"{result.state}, {report.sent_files} file back in {HERE / 'runs'}")
    return 1 if result.exit_code is None else result.exit_code


def main() -> int:
    """Train for as many epochs as the first argument says, or 2."""
    if not DATA.exists():
        subprocess.run([sys.executable, RESNET / "draw.py", "--out", DATA], check=True)
    try:
        return train(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    except gf.GpuforgeError as error:
        print(error.brief, error.details, error.resolution, sep="\n", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
