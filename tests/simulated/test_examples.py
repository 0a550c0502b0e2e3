"""The examples as their READMEs say, on simulated machines with PyTorch; nothing is left afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuforge.simcloud.machines.specfile import read_record
from gpuforge.state.paths import Paths

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

_EXAMPLES = Path(__file__).parents[2] / "examples"
_EPOCH = re.compile(r"epoch (\d+)/(\d+)   loss ([\d.]+)   accuracy ([\d.]+)")
_SAME_WEIGHTS = """\
import sys, torch
one, other = (torch.load(path, weights_only=True) for path in sys.argv[1:])
assert one["epoch"] == other["epoch"], (one["epoch"], other["epoch"])
for name, weights in one["model"].items():
    assert torch.equal(weights, other["model"][name]), name
moments = lambda state: [t for row in state["optimiser"]["state"].values() for t in row.values()]
assert all(map(torch.equal, moments(one), moments(other)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody at a terminal, with a home of their own."""

    home: Path
    examples: Path

    @property
    def environ(self) -> dict[str, str]:
        """Simulated machines come at once; nothing of the caller's settings."""
        return {
            **os.environ,
            "GPUFORGE_HOME": str(self.home),
            "GPUFORGE_FAKE_LATENCY": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *words: str, folder: str = "train-resnet") -> subprocess.CompletedProcess[str]:
        """A gpuforge command line, in an example's folder."""
        argv = [sys.executable, "-m", "gpuforge.cli.main", *words]
        return self.python(argv, folder=folder)

    def python(self, argv: list[str], *, folder: str) -> subprocess.CompletedProcess[str]:
        """Any command line, in an example's folder."""
        return subprocess.run(
            argv,
            cwd=self.examples / folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def answer(self, *words: str, folder: str = "train-resnet") -> Any:
        """The data of a ``--json`` answer."""
        done = self.run(*words, "--json", folder=folder)
        document = json.loads(done.stdout.splitlines()[-1])
        assert document["ok"], document
        return document["data"]

    def processes(self) -> list[str]:
        """What this user started: machines and what they run by their HOME, SSH masters by their socket."""
        marks = (os.fsencode(self.home.parent), os.fsencode(Paths.from_environment(self.environ).sockets))
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes()
                text = words + (folder / "environ").read_bytes()
            except OSError:
                continue
            if any(mark in text for mark in marks):
                found.append(f"{folder.name} {words.replace(bytes(1), b' ').decode(errors='replace')}")
        return found

    def is_clean(self) -> bool:
        """No machine and no process is left; a process may take a moment to end."""
        assert self.answer("fake", "status")["instances"] == []
        assert self.answer("status") == []
        give_up = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < give_up:
            time.sleep(0.1)
        assert left == []
        return True


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples, with the pictures drawn."""
    folder = tmp_path_factory.mktemp("clone") / "the examples"
    shutil.copytree(_EXAMPLES, folder, ignore=shutil.ignore_patterns("data", "runs", "__pycache__"))
    subprocess.run([sys.executable, "draw.py"], cwd=folder / "train-resnet", check=True, capture_output=True)
    return folder


@pytest.fixture
def user(tmp_path: Path, examples: Path):
    someone = User(home=tmp_path / "gf-home", examples=examples)
    yield someone
    someone.run("down", "--all", "--yes")
    someone.run("fake", "reset", "--yes")


def epochs_of(text: str) -> list[tuple[int, float, float]]:
    """Epoch, loss and accuracy of each line that tells them."""
    return [(int(m[1]), float(m[3]), float(m[4])) for m in _EPOCH.finditer(text)]


def test_resnet_trains_comes_back_resumes_bit_for_bit_and_travels_again_only_where_edited(user, tmp_path):
    """The story of train-resnet's README, on one machine."""
    folder = user.examples / "train-resnet"
    checkpoint = folder / "runs" / "checkpoint.pt"

    first = user.run("run", "--yes", "--env", "EPOCHS=2")

    assert first.returncode == 0, first.stderr
    (one, loss_1, accuracy_1), (two, loss_2, accuracy_2) = epochs_of(first.stdout)
    assert (one, two) == (1, 2)
    assert loss_2 < loss_1 / 2
    assert accuracy_2 > max(accuracy_1, 0.9)
    assert checkpoint.stat().st_size > 100_000
    assert "simulated: nothing is billed" in first.stderr
    (count,) = re.findall(r"sync +([\d,]+) files", first.stderr)
    assert "1,040 files" in first.stderr, first.stderr

    command = ["python", "train.py", "--data", "../data", "--epochs", "3", "--out", "runs", "--resume"]
    resumed = user.run("run", "-c", "train-resnet", "--", *command)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch 2" in resumed.stdout
    assert [epoch for epoch, *_ in epochs_of(resumed.stdout)] == [3]
    assert user.run("pull", "runs").returncode == 0
    continued = shutil.copy(checkpoint, tmp_path / "continued.pt")

    with (folder / "train.py").open("a") as file:
        file.write("# a note\n")
    again = user.run("run", "--yes", "--env", "EPOCHS=3")
    assert again.returncode == 0, again.stderr
    assert re.search(rf"sync +{count} files .* 1 sent", again.stderr), again.stderr
    assert epochs_of(again.stdout)[:2] == epochs_of(first.stdout)
    same = user.python([sys.executable, "-c", _SAME_WEIGHTS, str(continued), str(checkpoint)], folder=".")
    assert same.returncode == 0, same.stderr

    down = user.run("down", "train-resnet", "--yes")
    assert "cost" in down.stderr
    assert user.is_clean()


def test_ddp_trains_on_two_machines_and_ends_as_a_gang_when_one_of_them_dies(user):
    """Two SSH servers, one torchrun; then the supervisor of node 1 is killed in the middle of training."""
    folder = user.examples / "train-ddp"

    trained = user.run("run", "--yes", folder="train-ddp")

    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "[0] 840 pictures, 4 classes, 2 ranks on cpu" in trained.stdout
    (_, loss_1, _), (_, loss_2, accuracy_2) = epochs_of(trained.stdout)
    assert loss_2 < loss_1
    assert accuracy_2 > 0.9
    assert (folder / "runs" / "checkpoint.pt").exists()
    machines = user.answer("fake", "status")["instances"]
    assert len({(m["address"], m["port"]) for m in machines}) == 2

    argv = [sys.executable, "-m", "gpuforge.cli.main", "run", "--yes", "--env", "EPOCHS=10000"]
    with subprocess.Popen(
        argv, cwd=folder, env=user.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        try:
            assert any(_EPOCH.search(line) for line in client.stdout)
            os.kill(_supervisor(user, rank=1), signal.SIGKILL)
            user.answer("fake", "status")  # who looks at the cloud next finds the machine dead
            _, errors = client.communicate(timeout=120)
        finally:
            client.kill()

    # the head's own torchrun may fail (1) before it is ended (137); the cause is the same
    assert re.search(r"job 2 +exit (1|137) +node 1 was lost", errors), errors
    assert client.returncode in (1, 137)
    assert user.run("down", "train-ddp", "--yes").returncode == 0
    assert user.is_clean()


def _supervisor(user: User, *, rank: int) -> int:
    """The process behind one node."""
    rows = user.answer("fake", "status")["instances"]
    (number,) = [row["id"] for row in rows if row["name"].split("-")[2] == str(rank)]
    (record,) = user.home.glob(f"**/machines/{number}/supervisor.json")
    found = read_record(record)
    assert found is not None
    return found[0]


def test_the_python_script_trains_brings_the_checkpoint_back_and_leaves_nothing(user):
    """The with block gives the machine back."""
    folder = user.examples / "python-api"

    done = user.python([sys.executable, "main.py", "1"], folder="python-api")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Cluster python-api: 1 × L4 on fake/" in done.stdout
    assert [epoch for epoch, *_ in epochs_of(done.stdout)] == [1]
    assert "succeeded, 1 file back" in done.stdout
    assert (folder / "runs" / "checkpoint.pt").exists()
    assert user.is_clean()


def test_the_python_script_answers_a_mistake_in_three_lines(user):
    """A GPU that nobody makes is refused before anything is rented, without a traceback."""
    script = user.examples / "python-api" / "main.py"
    text = script.read_text().replace('"L4:1"', '"B2000"')
    wrong = script.with_name("wrong.py")
    wrong.write_text(text)

    done = user.python([sys.executable, "wrong.py"], folder="python-api")

    assert done.returncode == 64
    assert "B2000" in done.stderr
    assert "Traceback" not in done.stderr
    assert user.is_clean()
