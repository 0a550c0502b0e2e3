"""Whatever can be wrong with what a user brings is answered with what, why, what to do, and its exit code.

Each refusal is asked for twice, for a person and as a document, and nothing is lost by it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import threading
import time
from datetime import timedelta

import pytest

from gpuforge.errors import PolicyError
from gpuforge.models.clock import SystemClock
from gpuforge.providers.registry import load
from gpuforge.provision import Context, create_cluster, make_plan
from gpuforge.spec.load import load_task_text
from gpuforge.state.journal import Journal
from gpuforge.state.paths import Paths
from gpuforge.testing.clock import ManualClock
from gpuforge.testing.commandline import command_line
from gpuforge.testing.nodes import eventually

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A live cluster ``dev`` that every refusal must leave as it was."""
    with command_line(tmp_path_factory.mktemp("bad")) as cli:
        cli("up", "--gpus", "L4:1", "-c", "dev", "--yes").ok()
        yield cli
        assert cli("run", "-c", "dev", "--", "echo fine").ok().out == "fine\n"
        cli("down", "dev", "--yes").ok()


def refused_as_document(cli, code, words, *says):
    """The error of a ``--json`` answer."""
    asked = cli(*words, "--json")
    assert asked.code == code, asked
    assert "Traceback" not in asked.err
    document = asked.document
    error = document["error"]
    assert document["ok"] is False
    assert error["exit_code"] == code
    assert error["brief"]
    told = "\n".join((error["brief"], error["details"], error["resolution"]))
    assert [word for word in says if word not in told] == [], told
    return error


def refused_twice(cli, code, words, *says):
    """The same command for a person and as a document."""
    told = cli(*words).refused(code, "error: ", *says)
    return told, refused_as_document(cli, code, words)


MISTAKES = {
    "misspelt": ("name: x\nresources:\n  acelerators: L4\nrun: x\n", "t.yaml:3:3", 'mean "accelerators"'),
    "tab": ("name: x\nresources:\n\taccelerators: L4:1\nrun: x\n", "t.yaml:3:1", "tab"),
    "null env": ("name: x\nenvs:\n  DATA:\nrun: x\n", "t.yaml:3:3", "DATA"),
    "absent workdir": ("name: x\nworkdir: ./nowhere\nrun: x\n", "t.yaml:2:10", "nowhere"),
    "impossible GPU": ("name: x\nresources: {accelerators: L4:3}\nrun: x\n", "t.yaml:2:", "L4"),
    "unknown GPU": ("name: x\nresources: {accelerators: H10:1}\nrun: x\n", "t.yaml:2:", "H100"),
    "twice": ("name: x\nname: y\nrun: x\n", "t.yaml:2:1", "name"),
    "two tasks": ("name: x\nrun: x\n---\nname: y\nrun: y\n", "t.yaml:", "2 tasks"),
    "no map": ("- a\n- b\n", "t.yaml:1", "map"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_in_a_task_file_is_named_with_its_line_and_nothing_is_made(cli, what):
    text, where, says = MISTAKES[what]
    cli.write("t.yaml", text)

    error = refused_as_document(cli, 64, ["run", "t.yaml", "--yes"], where, says)

    assert any(where in mistake["where"] for mistake in error["mistakes"]), error
    assert not cli.paths.clusters.exists()
    assert not cli.paths.simcloud.joinpath("machines").exists()


def test_mistakes_are_shown_to_a_person_all_at_once_with_what_was_written(cli):
    cli.write("t.yaml", "name: x\nresources:\n  acelerators: L4\nenvs:\n  DATA:\nworkdir: nowhere\nrun: x\n")

    told = cli("run", "t.yaml", "--yes").refused(64, "t.yaml:3:3", "t.yaml:5:3", "t.yaml:6:10")

    assert "acelerators: L4\n" in told.err
    assert "^^^^^^^^^^^" in told.err
    assert told.out == ""


def test_no_capacity_anywhere_is_a_table_of_reasons_and_leaves_nothing_open(cli):
    cli("fake", "stockout", "A100").ok()

    words = ["up", "--gpus", "A100:1", "-c", "big", "--yes"]
    told, error = refused_twice(cli, 69, words, "do ")

    zones = {attempt["place"] for attempt in error["attempts"]}
    assert len(zones) > 1
    assert {attempt["code"] for attempt in error["attempts"]} == {"capacity"}
    assert all(zone in told.err for zone in zones)
    assert cli("status").ok().out == "no cluster is up\n"
    assert "nothing to do" in cli("gc").ok().out
    assert cli("fake", "status", "--json").ok().document["data"]["instances"] == []


def test_a_name_taken_by_a_cluster_that_does_not_fit_is_refused(live):
    live.write("t.yaml", "name: dev\nresources: {accelerators: A100:1}\nrun: echo no\n")

    told, _ = refused_twice(live, 73, ["run", "t.yaml", "--yes"], "does not fit", "A100", "gpuforge down dev")

    assert told.out == ""


def test_a_job_killed_by_a_signal_says_so_with_its_code(live):
    done = live("run", "-c", "dev", "--", "kill -9 $$")
    assert done.code == 137
    assert "SIGKILL" in done.err

    document = live("run", "-c", "dev", "--json", "--", "kill -SEGV $$").document
    assert document["data"]["exit_code"] == 139
    assert document["data"]["exit_code_of"] == "job"
    assert document["data"]["nodes"][0]["signal"] == 11
    own = live("run", "-c", "dev", "--", "exit 73")
    assert own.code == 73
    assert "the job's own code" in own.err


def test_a_file_that_changes_while_it_is_sent_is_a_row_and_then_travels(live):
    log = live.write("moving/log", "x" * 4_000_000)
    live.write("moving/still", "still\n")
    stop = threading.Event()

    def append():
        with log.open("a", buffering=1) as file:
            while not stop.is_set():
                file.write("more\n")
                file.flush()

    writer = threading.Thread(target=append)
    writer.start()
    try:
        told = live("push", "moving", "moving", "-c", "dev").refused(74, "log", "changed while it was sent")
    finally:
        stop.set()
        writer.join()
    there = live.machine() / "home" / "moving"
    assert "run the same command again" in told.err
    assert (there / "still").read_text() == "still\n"
    assert [path.name for path in there.iterdir()] == ["still"]

    live("push", "moving", "moving", "-c", "dev").ok()
    assert (there / "log").read_bytes() == log.read_bytes()


@root_only
def test_a_full_disk_on_the_machine_is_a_row_and_what_fitted_stays(live):
    live.write("large/a small", "small\n")
    (live.folder / "large" / "big").write_bytes(os.urandom(3_000_000))
    there = live.machine() / "home" / "large"
    with _small_disk(there, "1m"):
        _, error = refused_twice(
            live, 74, ["push", "large", "large", "-c", "dev"], "the disk is full", "free"
        )
        assert error["rows"][0]["path"] == "big"
        assert (there / "a small").read_text() == "small\n"
        assert [path.name for path in there.iterdir()] == ["a small"]
    live("push", "large", "large", "-c", "dev").ok()
    assert (there / "big").stat().st_size == 3_000_000


@root_only
def test_a_full_disk_under_a_jobs_log_costs_output_and_never_the_exit_code(live):
    jobs = live.machine() / "home" / ".gpuforge" / "jobs"
    with _small_disk(jobs, "256k"):
        done = live("run", "-c", "dev", "--", "head -c 2000000 /dev/zero | tr '\\0' x; echo; exit 5")
        assert "Traceback" not in done.err
        assert done.code == 5, done.err


@contextlib.contextmanager
def _small_disk(folder, size):
    """A file system of ``size`` over ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_machine_with_another_host_key_gets_not_one_byte(cli):
    cli("up", "--gpus", "L4:1", "-c", "dev", "--yes").ok()
    cli.write("secret.txt", "for the right machine alone")
    machine = cli.machine()
    boot = (machine / "boot_id").read_text()
    (machine / "host_key").unlink()
    cli("fake", "reboot", "dev").ok()
    eventually(lambda: (machine / "boot_id").read_text() != boot)

    says = ("is not the machine", "nothing was sent", "SHA256:")
    refused_twice(cli, 68, ["push", "secret.txt", "secret.txt", "-c", "dev"], *says)
    cli("run", "-c", "dev", "--", "echo no").refused(68, *says)
    cli("ssh", "dev", "--", "true").refused(255)

    assert not (machine / "home" / "secret.txt").exists()
    assert list((machine / "home" / ".gpuforge" / "jobs").glob("*/spec.json")) == []
    cli("down", "dev").ok()


def test_a_journal_of_a_newer_version_is_left_alone(live):
    with sqlite3.connect(live.paths.journal) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        before = db.execute("SELECT COUNT(*) FROM journal").fetchone()
        db.execute(f"PRAGMA user_version = {version + 1}")
    try:
        for verb in (["status"], ["down", "dev"], ["gc"], ["up", "--gpus", "L4:1", "-c", "more", "--yes"]):
            refused_as_document(live, 72, verb, "newer gpuforge", "upgrade gpuforge")
    finally:
        with sqlite3.connect(live.paths.journal) as db:
            db.execute(f"PRAGMA user_version = {version}")
            assert db.execute("SELECT COUNT(*) FROM journal").fetchone() == before
    assert "dev" in live("status").ok().out


def test_of_two_commands_on_one_cluster_the_second_names_the_first(cli):
    slow = {"GPUFORGE_FAKE_LATENCY": "300"}
    first = cli.start("up", "--gpus", "L4:1", "-c", "dev", "--yes", env=slow)
    eventually((cli.paths.locks / "dev.holder").exists, seconds=60)

    told = cli("down", "dev", "--yes").refused(72, "another command is working on the cluster 'dev'")
    assert f"process {first.pid} (gpuforge up)" in told.err
    assert not first.has_ended

    first.send(signal.SIGINT)
    assert first.wait().refused(130, "gpuforge gc").code == 130
    cli("gc").ok()
    assert cli("status").ok().out == "no cluster is up\n"


def test_two_jobs_on_one_cluster_at_once_wait_for_each_other(live):
    first = live.start(
        "run", "-c", "dev", "--", "echo begun; until [ -e go ]; do sleep 0.05; done; echo first"
    )
    first.until("begun")
    second = live.start("run", "-c", "dev", "--", "echo second; rm go")
    eventually(lambda: [job["state"] for job in live("jobs", "--json").document["data"]][-1] == "queued")
    (live.machine() / "home" / "workdir" / "go").touch()

    assert first.wait().ok().out == "begun\nfirst\n"
    assert second.wait().ok().out == "second\n"


@pytest.mark.parametrize("seconds", [-61, 3600])
def test_a_clock_that_jumped_is_refused_with_both_times_before_anything_is_asked_for(tmp_path, seconds):
    environ = {"GPUFORGE_HOME": str(tmp_path), "GPUFORGE_FAKE_MACHINES": "none", "GPUFORGE_FAKE_LATENCY": "0"}
    paths, here = Paths.from_environment(environ), ManualClock(SystemClock().now())
    provider = load("fake", paths=paths, clock=SystemClock(), environ=environ)
    task = load_task_text("name: x\nresources: {accelerators: L4:1}\nrun: x\n", environ={}, cwd=tmp_path)
    plan = make_plan(
        task, provider=provider, cluster_name="x", max_duration=timedelta(hours=1), autostop_minutes=None,
        clock=here, stockouts={},
    )  # fmt: skip
    here.jump(seconds)

    with Journal.open(paths.journal, head_path=paths.journal_head, clock=here) as journal:
        context = Context(provider=provider, journal=journal, paths=paths, clock=here, owner="me")
        with pytest.raises(PolicyError, match="this computer's clock is") as caught:
            create_cluster(context, plan, labels={})

    assert caught.value.exit_code == 73
    assert caught.value.details.count("Z") >= 2  # both times
    assert provider.cloud.everything() == []


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (64, ["run", "nowhere.yaml"], "nowhere.yaml"),
        (64, ["upp"], "up"),
        (64, ["run", "--gpu", "L4:1", "--", "true"], "--gpus"),
        (64, ["up", "--gpus", "L4:1", "--max-duration", "60", "--yes"], "60m"),
        (66, ["run", "-c", "devv", "--", "true"], "did you mean 'dev'?"),
        (66, ["logs", "99", "-c", "dev"], "99"),
        (64, ["push", "absent", "absent", "-c", "dev"], "absent"),
        (73, ["up", "--gpus", "L4:1", "-c", "new", "--max-cost", "0.01", "--yes"], "max_cost"),
        (75, ["run", "-c", "dev", "--max-duration", "7h", "--", "true"], "deadline"),
        (76, ["up", "--gpus", "L4:1", "-c", "new"], "--yes"),
        (64, ["plan", "--gpus", "L4:1", "--infra", "gcp"], "gcp"),
    ],
)
def test_what_a_command_line_asks_for_in_vain_has_its_code(live, code, words, says):
    if "--" in words:
        live(*words).refused(code, says)
    else:
        refused_as_document(live, code, words, says)


def test_a_command_that_was_stopped_for_a_while_still_ends_well(live):
    """A laptop that slept: the client is stopped before, during and after the copy."""
    (live.folder / "slept").mkdir()
    (live.folder / "slept" / "data").write_bytes(os.urandom(20_000_000))
    running = live.start("push", "slept", "slept", "-c", "dev")
    for _ in range(4):
        time.sleep(0.1)
        if running.has_ended:
            break
        running.send(signal.SIGSTOP)
        time.sleep(0.3)
        running.send(signal.SIGCONT)

    running.wait().ok()

    there = live.machine() / "home" / "slept" / "data"
    assert there.read_bytes() == (live.folder / "slept" / "data").read_bytes()
