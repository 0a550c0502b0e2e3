"""The main job over the real command line: a task file to outputs and back, on real simulated machines."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpuforge.testing.nodes import eventually

TASK = """\
name: tiny
resources:
  accelerators: L4:1
workdir: .
file_mounts:
  ~/data/numbers.txt: ../data/numbers.txt
envs:
  SCALE: "3"
setup: |
  echo preparing
  cp ~/data/numbers.txt prepared.txt
run: python train.py
outputs:
  - out/**
"""
TRAIN = """\
import json, os, pathlib
numbers = [int(line) for line in open("prepared.txt")]
out = pathlib.Path("out")
out.mkdir(exist_ok=True)
print("rank", os.environ["GPUFORGE_NODE_RANK"], "of", os.environ["GPUFORGE_NUM_NODES"])
(out / "modèle final.json").write_text(json.dumps({"sum": sum(numbers) * int(os.environ["SCALE"])}))
if not (out / "weights.bin").exists():
    (out / "weights.bin").write_bytes(bytes(range(256)) * 100)
"""


@pytest.fixture
def project(cli):
    cli.write("gpuforge.yaml", TASK)
    cli.write("train.py", TRAIN)
    cli.write("lib/it's a name.txt", "kept\n")
    cli.write("../data/numbers.txt", "1\n2\n3\n")
    return cli


def test_a_task_runs_an_edit_runs_again_on_the_same_machine_and_down_leaves_nothing(project):
    first = project("run", "--yes").ok()

    assert "preparing\nrank 0 of 1\n" in first.out
    assert "simulated: nothing is billed" in first.err
    assert "at most $" in first.err
    assert "cost  " in first.err
    assert "still up" in first.err
    assert json.loads((project.folder / "out" / "modèle final.json").read_text()) == {"sum": 18}
    assert (project.folder / "out" / "weights.bin").read_bytes() == bytes(range(256)) * 100
    machine = project.machine()
    assert (machine / "home" / "workdir" / "lib" / "it's a name.txt").read_text() == "kept\n"

    project.write("train.py", TRAIN.replace("sum(numbers)", "max(numbers)"))
    second = project("run", "--yes").ok()

    assert "1 sent" in second.err
    assert "1 new file" in second.err
    assert json.loads((project.folder / "out" / "modèle final.json").read_text()) == {"sum": 9}
    assert project.machine() == machine

    third = project("push", ".", "workdir", "--json").ok().document["data"]
    assert [(row["sent_files"], row["sent_bytes"]) for row in third] == [(0, 0)]
    down = project("down", "tiny").ok()
    assert "tiny is gone, says its cloud" in down.err
    assert "cost  " in down.err
    assert "(simulated)" in down.err
    assert project.machines() == []
    assert project("status", "--json").ok().document["data"] == []


def test_run_with_down_gives_the_machine_back_also_when_the_job_fails(project):
    project.write("train.py", TRAIN + "raise SystemExit(7)\n")

    done = project("run", "--yes", "--down", "--json")

    assert done.code == 7
    document = done.document
    assert document["ok"] is True
    assert document["data"]["exit_code"] == 7
    assert document["data"]["exit_code_of"] == "job"
    assert document["data"]["outputs"]["sent_files"] == 2
    assert float(document["data"]["spent_usd"]) > 0
    assert (project.folder / "out" / "weights.bin").exists()
    assert {event["event"] for event in done.events} == {"job", "log"}
    assert project.machines() == []
    assert project("status").ok().out == "no cluster is up\n"


def test_a_detached_job_is_followed_and_pulled_and_a_file_that_changed_here_is_kept(project):
    project.write("train.py", TRAIN + "import time\nwhile not os.path.exists('go'): time.sleep(0.05)\n")

    started = project("run", "--yes", "--detach", "--json").ok().document["data"]
    assert started["state"] in {"queued", "setup", "running"}
    following = project.start("logs", "-f", "-c", "tiny")
    following.until("rank 0 of 1")
    asked = project("down", "tiny")
    asked.refused(76, "job 1 of tiny is running", "--yes")
    (project.machine() / "home" / "workdir" / "go").touch()

    assert following.wait().ok().out == "preparing\nrank 0 of 1\n"
    assert project("logs", "1", "--tail", "1").ok().out == "rank 0 of 1\n"
    project("pull", "out/weights.bin", "-c", "tiny").ok()
    assert (project.folder / "out" / "weights.bin").stat().st_size == 25600
    job = project("jobs", "--json").ok().document["data"][0]
    assert (job["state"], job["exit_code"]) == ("succeeded", 0)

    project.write("out/weights.bin", "mine now")
    project("run", "-c", "tiny", "--", "echo theirs > out/weights.bin").ok()
    kept = project("pull", "out/weights.bin", "-c", "tiny").ok()
    assert "out/weights.bin: changed here" in kept.err
    assert (project.folder / "out" / "weights.bin").read_text() == "mine now"
    project("down", "tiny").ok()


def test_a_gang_prefixes_its_lines_and_fails_naming_the_first_cause(cli):
    cli("up", "--gpus", "L4:1", "--num-nodes", "3", "-c", "three", "--yes").ok()
    fine = cli("run", "-c", "three", "--", "echo $GPUFORGE_NODE_RANK/$GPUFORGE_NUM_NODES").ok()
    assert sorted(fine.out.splitlines()) == ["[0] 0/3", "[1] 1/3", "[2] 2/3"]

    job = "if [ $GPUFORGE_NODE_RANK = 1 ]; then echo no space >&2; exit 5; fi; exec sleep 300"
    failed = cli("run", "-c", "three", "--", job)
    assert failed.code == 5
    assert "node 1" in failed.err
    assert "[1] no space" in failed.out

    data = cli("jobs", "-c", "three", "--json").ok().document["data"][-1]
    assert [row["rank"] for row in data["nodes"] if not row["is_consequence"]] == [1]
    assert "node 1" in data["cause"]
    cli("down", "three").ok()


def test_a_node_that_is_killed_ends_the_gang_with_the_cause_named(cli):
    cli("up", "--gpus", "L4:1", "--num-nodes", "3", "-c", "three", "--yes").ok()
    running = cli.start("run", "-c", "three", "--", "echo started; sleep 300")
    eventually(lambda: running.out.count("started") == 3)
    names = {n["rank"]: n["instance_id"] for n in _cluster(cli)["nodes"]}
    lost = next(folder for folder in cli.machines() if folder.name == names[2])
    os.kill(cli.supervisor(lost), signal.SIGKILL)
    for pid, words in cli.processes().items():
        if str(lost) in words or _belongs(pid, lost):
            os.kill(pid, signal.SIGKILL)

    done = running.wait()

    assert done.code not in {0, 70}, str(done)
    assert "node 2" in done.err, str(done)
    assert "Traceback" not in done.err
    cli("down", "three", "--yes").ok()


def test_two_clusters_work_side_by_side_and_down_all_gives_both_back(cli):
    with ThreadPoolExecutor(2) as pool:
        ups = list(
            pool.map(lambda n: cli("up", "--gpus", "L4:1", "-c", n, "--yes", "--json"), ["one", "two"])
        )
        assert [up.ok().document["data"]["name"] for up in ups] == ["one", "two"]
        runs = list(
            pool.map(lambda n: cli("run", "-c", n, "--", f"echo {n} > name; cat name"), ["one", "two"])
        )
    assert [run.ok().out for run in runs] == ["one\n", "two\n"]
    cli("jobs").refused(66, "2 clusters are up", "one", "two")
    assert cli("jobs", "--json").document["error"]["code"] == "not_found"

    done = cli("down", "--all", "--json").ok().document["data"]

    assert sorted(row["name"] for row in done) == ["one", "two"]
    assert cli.machines() == []
    with sqlite3.connect(cli.paths.journal) as db:
        kinds = [row[0] for row in db.execute("SELECT kind FROM journal")]
    assert kinds.count("RESERVE") == kinds.count("RELEASE") == 2


def _cluster(cli):
    (one,) = cli("status", "--json").ok().document["data"]
    return one


def _belongs(pid, folder):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - may vanish
            return os.fsencode(folder) in file.read()
    except OSError:
        return False
