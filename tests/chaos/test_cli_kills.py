"""kill -9 of the real command line at every stage; the next commands make it whole.

Ten seeded points. Afterwards ``status``, ``logs -f``, ``gc`` and ``down`` from new processes: what the job
wrote is complete and exact, its exit code is kept, nothing is left over.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time

import pytest

from gpuforge.testing.commandline import command_line
from gpuforge.testing.nodes import eventually

pytestmark = pytest.mark.chaos

LINES = 3000
# a line is 40 bytes, so that offsets are easy to say; it takes a few seconds, in bursts
JOB = f"""\
for i in $(seq {LINES}); do
  printf '%039d\\n' $i
  [ $((i % 50)) = 0 ] && sleep 0.03
done
echo done > finished
exit 9
"""
WANTED = "".join(f"{i:039d}\n" for i in range(1, LINES + 1))
FILES = 400


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A machine that outlives its clients, for all kills of one session."""
    with command_line(tmp_path_factory.mktemp("kills")) as cli:
        cli("up", "--gpus", "L4:1", "-c", "dev", "--yes").ok()
        yield cli
        assert cli("status", "--json").ok().document["data"][0]["name"] == "dev"
        assert "nothing to do" in cli("gc").ok().out
        cli("down", "dev", "--yes").ok()


def kinds(cli):
    """The kinds of the journal's rows, as far as there are any."""
    with contextlib.suppress(sqlite3.OperationalError):
        path = f"file:{cli.paths.journal}?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True)) as db:
            return [kind for (kind,) in db.execute("SELECT kind FROM journal ORDER BY seq")]
    return []


def wait_for(running, condition):
    """Poll closely: the moment is what the test is about."""
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        assert not running.has_ended, running.wait()
        time.sleep(0.002)


@pytest.mark.parametrize("row", ["LEASE", "INTENT"])
def test_killed_while_it_provisions(cli, row):
    cli.write("gpuforge.yaml", "name: dev\nresources: {accelerators: L4:1}\nrun: echo hi\n")
    running = cli.start("run", "--yes", env={"GPUFORGE_FAKE_LATENCY": "3"})
    wait_for(running, lambda: row in kinds(cli))
    running.kill()

    shown = cli("status").ok()
    assert "Traceback" not in shown.err
    if row != "LEASE":
        assert "gpuforge gc" in shown.err
        assert "dev" in cli("gc").ok().out
    cli("gc").ok()
    assert cli("status").ok().out == "no cluster is up\n"
    assert cli("fake", "status", "--json").ok().document["data"]["instances"] == []
    assert kinds(cli).count("RESERVE") == kinds(cli).count("RELEASE")


def test_killed_while_it_provisions_and_simply_repeated(cli):
    cli.write("gpuforge.yaml", "name: dev\nresources: {accelerators: L4:1}\nrun: echo hi\n")
    running = cli.start("run", "--yes", env={"GPUFORGE_FAKE_LATENCY": "3"})
    wait_for(running, lambda: "ACK" in kinds(cli))
    running.kill()

    again = cli("run", "--yes", "--down").ok()

    assert again.out == "hi\n"
    assert cli("fake", "status", "--json").ok().document["data"]["instances"] == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_while_it_copies(live, seed):
    name = f"copied{seed}"
    chance = random.Random(seed)  # noqa: S311 - seeded on purpose
    for number in range(FILES):
        live.write(f"{name}/{number % 7}/{number}", f"{number}\n" * chance.randrange(400))
    big = live.folder / name / "zz big"
    big.write_bytes(chance.randbytes(24_000_000))
    there = live.machine() / "home" / name
    enough = chance.randrange(1, FILES + 2)
    running = live.start("push", name, name, "-c", "dev")

    with contextlib.suppress(
        AssertionError
    ):  # it may be done before we look: the rest must hold all the same
        wait_for(running, lambda: sum(len(files) for _, _, files in os.walk(there)) >= enough)
    running.kill()

    live("status").ok()
    live("gc").ok()
    live("push", name, name, "-c", "dev").ok()
    assert _tree(there) == _tree(live.folder / name)
    assert live("push", name, name, "-c", "dev", "--json").ok().document["data"][0]["sent_files"] == 0


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_killed_while_it_streams(live, seed):
    offset = random.Random(seed).randrange(1, len(WANTED))  # noqa: S311 - seeded on purpose
    finished = live.machine() / "home" / "workdir" / "finished"
    finished.unlink(missing_ok=True)
    running = live.start("run", "-c", "dev", "--", JOB)
    wait_for(running, lambda: len(running.out) >= offset)
    seen = running.kill().out

    assert WANTED.startswith(seen)
    assert "running" in live("status").ok().out
    assert live("gc").ok().err == ""
    followed = live("logs", "-f", "-c", "dev")
    assert followed.out == WANTED
    assert followed.code == 9
    assert finished.exists()
    assert live("logs", "-c", "dev").ok().out == WANTED
    job = live("jobs", "-c", "dev", "--json").ok().document["data"][-1]
    assert (job["state"], job["exit_code"]) == ("failed", 9)


def test_killed_while_it_tears_down(cli):
    cli("up", "--gpus", "L4:1", "-c", "dev", "--yes").ok()
    running = cli.start("down", "dev", env={"GPUFORGE_FAKE_LATENCY": "20"})
    wait_for(running, lambda: "DELETE_INTENT" in kinds(cli))
    running.kill()

    assert "dev" in cli("status").ok().out
    cli("gc").ok()
    assert cli("status").ok().out == "no cluster is up\n"
    assert kinds(cli)[-1] == "RELEASE"


def test_a_client_that_slept_twice_goes_on_as_if_nothing_had_been(cli):
    script = JOB.replace("\n", "\n  ")
    cli.write("gpuforge.yaml", f"name: dev\nresources: {{accelerators: L4:1}}\nrun: |\n  {script}\n")
    running = cli.start("run", "--yes", env={"GPUFORGE_FAKE_LATENCY": "2"})
    wait_for(running, lambda: "INTENT" in kinds(cli))
    running.send(signal.SIGSTOP)
    time.sleep(2)  # longer than the machine takes: that is the sleep, nothing is waited for
    running.send(signal.SIGCONT)
    wait_for(running, lambda: len(running.out) > 1000)
    running.send(signal.SIGSTOP)
    eventually((cli.machine() / "home" / "workdir" / "finished").exists)
    running.send(signal.SIGCONT)

    done = running.wait()

    assert done.out == WANTED
    assert done.code == 9
    cli("down", "dev").ok()


def _tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
