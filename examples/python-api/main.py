"""Train from a Python script: the machines are given back when the block ends, also on an error."""

from __future__ import annotations

import sys
from pathlib import Path

import gpuforge as gf

HERE = Path(__file__).resolve().parent
RESNET = HERE.parent / "train-resnet"


def main() -> int:
    """Rent, train, bring the checkpoint back, give back; returns the job's own exit code."""
    forge = gf.Forge()
    task = gf.Task(
        name="python-api",
        resources={"accelerators": "L4:1"},
        workdir=RESNET,
        file_mounts={"~/data": RESNET / "data"},
        setup="pip install -q -r requirements.txt",
        run="python train.py --data ~/data --epochs 2 --out runs",
        max_duration="1h",
    )
    print(
        forge.plan(task).best.offering.instance_type, "at", forge.plan(task).best.usd_per_hour, "USD per hour"
    )
    with forge.up(task) as cluster:
        print(cluster)
        job = cluster.run(task)
        for line in job.logs(follow=True):
            print(line, end="")
        result = job.wait()
        report = cluster.pull(["runs"], into=HERE)
        print(f"{result.state}, {report.files} files back in {HERE / 'runs'}")
    return result.exit_code if result.exit_code is not None else 1


if __name__ == "__main__":
    sys.exit(main())
