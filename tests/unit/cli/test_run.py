"""``run`` does all of it: rent, copy, run, stream, outputs back; its code is the job's."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpuforge.cli import run
from gpuforge.cli.output import output
from gpuforge.errors import ConnectError
from gpuforge.models.job import JobState

TASK = """\
name: dev
resources: {accelerators: 'L4:1'}
workdir: .
outputs: [runs]
setup: echo preparing
run: |
  echo "it's $WHO ☃"
  mkdir -p runs && cp data.txt "runs/a b.txt"
envs: {WHO: you}
"""


def test_a_task_runs_on_the_live_cluster_and_its_outputs_come_back(gpuforge, live):
    """Every stage a line, in order; the job's own output alone on stdout."""
    (live / "gpuforge.yaml").write_text(TASK)
    (live / "data.txt").write_text("42\n")

    result = gpuforge("run", "--env", "WHO=me; exit 9")

    assert result.code == 0
    assert result.out == "preparing\nit's me; exit 9 ☃\n"
    assert (live / "runs" / "a b.txt").read_text() == "42\n"
    keys = [line[2:16].strip() for line in result.err.splitlines() if line]
    assert [key.rstrip("0123456789 ") for key in keys] == [
        "✓ cluster", "✓ sync", "✓ setup", "▶ job", "✓ job", "✓ outputs", "cost", "still up", "next",
    ]  # fmt: skip
    assert "dev is up and fits; reused" in result.err
    assert "2 files · " in result.err
    assert 'echo "it\'s $WHO ☃" …' in result.err
    assert "runs · 1 new file · 3 B" in result.err
    assert "(simulated) for " in result.err


def test_a_command_prints_nothing_but_its_output(gpuforge, live):
    """As ssh would; its words keep their borders."""
    result = gpuforge("run", "-c", "dev", "--", "printf", "%s|", "a b", "c'd", "é;\n")

    assert (result.code, result.out, result.err) == (0, "a b|c'd|é;\n|", "")


@pytest.mark.parametrize(("code", "whose"), [(1, ""), (70, " (the job's own code)"), (255, "")])
def test_the_jobs_code_is_kept_and_in_our_range_told_apart(code, whose, gpuforge, live):
    """The last line on stderr says whose code it is."""
    result = gpuforge("run", "-c", "dev", "--", f"exit {code}")

    assert result.code == code
    (line,) = result.err.splitlines()
    assert line.startswith("  ✗ job ")
    assert f"exit {code}{whose} " in line


def test_json_is_a_stream_of_events_then_the_document(gpuforge, live):
    """Each line an object; the code in it is the job's."""
    result = gpuforge("run", "-c", "dev", "--json", "--", "echo one; echo two; exit 64")

    events, document = result.stream
    assert result.code == 64
    assert result.err == ""
    assert events[0]["event"] == "job"
    assert [e["text"] for e in events[1:]] == ["one", "two"]
    assert document["ok"] is True
    assert document["data"]["exit_code"] == 64
    assert document["data"]["exit_code_of"] == "job"
    assert document["data"]["job_id"] == events[0]["job_id"]
    assert document["data"]["cluster_data"]["simulated"] is True
    assert float(document["data"]["spent_usd"]) > 0


def test_secrets_never_show(gpuforge, live):
    """Not in the job's output, not when it comes in two pieces, not in events."""
    script = "printf 'sword'; sleep 0.2; echo 'fish-77'; echo $TOKEN"

    plain = gpuforge("run", "-c", "dev", "--secret", "TOKEN=swordfish-77", "--", script)
    asked = gpuforge("run", "-c", "dev", "--json", "--secret", "TOKEN=swordfish-77", "--", script)

    assert plain.out == "***\n***\n"
    assert "swordfish-77" not in asked.out
    assert "sword" not in asked.out


def test_what_does_not_fit_before_the_deadline_is_refused(gpuforge, live):
    """Exit 75 with both times; nothing was started."""
    before = gpuforge("jobs", "--json").document["data"]

    result = gpuforge("run", "-c", "dev", "--max-duration", "9h", "--", "true")

    assert result.code == 75
    assert result.err.startswith(
        "error: the job does not fit before the deadline of cluster dev\n  why  it may run until 2"
    )
    assert "; the machines end at 2" in result.err
    assert gpuforge("jobs", "--json").document["data"] == before


def test_a_task_that_does_not_fit_on_the_live_cluster_is_refused(gpuforge, live):
    """The reason and both ways out."""
    result = gpuforge("run", "-c", "dev", "--gpus", "H100:8", "--num-nodes", "2", "t.yaml")
    assert result.code == 64  # no such file

    (live / "t.yaml").write_text("run: 'true'\n")
    result = gpuforge("run", "-c", "dev", "--gpus", "H100:8", "--num-nodes", "2", "t.yaml")

    assert result.code == 73
    assert result.err == (
        "error: cluster dev is up and does not fit this task\n"
        "  why  it has 1 node, the task wants 2\n"
        "       it has L4:1, the task wants H100:8\n"
        "  do   another name:  -c dev-2      or first  gpuforge down dev\n"
    )


def test_detached_it_starts_and_leaves(gpuforge, live):
    """With how to come back."""
    result = gpuforge("run", "-d", "-c", "dev", "--", "sleep 60")
    job = result.err.split()[2]
    asked = gpuforge("run", "-d", "--json", "-c", "dev", "--", "true")
    gpuforge("cancel", job, "--grace", "0")

    assert result.code == 0
    assert f"gpuforge logs {job} -f · gpuforge cancel {job}" in result.err
    assert asked.document["data"]["state"] in {"queued", "waiting", "running", "succeeded"}


def test_down_and_detach_exclude_each_other(gpuforge, here):
    """Nobody would be there to give them back."""
    result = gpuforge("run", "--down", "--detach", "--", "true")

    assert (result.code, result.err) == (
        64, "error: --down and --detach exclude each other\n  do   leave one of them out\n",
    )  # fmt: skip


def test_a_task_without_anything_to_run_is_refused(gpuforge, here):
    """Before anything is rented."""
    Path("gpuforge.yaml").write_text("name: x\n")

    result = gpuforge("run")

    assert result.code == 64
    assert result.err.startswith("error: the task has nothing to run\n")


def test_renting_asks_and_declining_rents_nothing(terminal, gpuforge, here):
    """Exit 76; without a terminal it does not even ask."""
    (here / "gpuforge.yaml").write_text(TASK)

    declined = terminal("run", answers=("n\n",))
    unasked = gpuforge("run")

    assert declined.code == unasked.code == 76
    assert "Rent it? [Y/n] n\nerror: declined; nothing was done\n" in declined.out
    assert "  do   add --yes to agree beforehand\n" in unasked.err
    assert gpuforge("status").out == "no cluster is up\n"


def test_with_down_the_machines_go_after_the_outputs_came(gpuforge, here):
    """Also when the job fails; the document comes last and alone."""
    (here / "gpuforge.yaml").write_text(
        TASK.replace("  echo", "  mkdir -p runs; echo x > runs/x; exit 3; echo")
    )

    result = gpuforge("run", "--down", "--yes", "--json")

    _, document = result.stream
    assert result.code == 3
    assert document["data"]["outputs"]["sent_files"] == 1
    assert (here / "runs" / "x").read_text() == "x\n"
    assert gpuforge("status", "--json").document["data"] == []
    assert gpuforge("fake", "status").out == "no instances\n"


def test_with_down_no_output_is_lost(gpuforge, here):
    """One that differs here keeps its machine; exit 74 says how to get both."""
    (here / "gpuforge.yaml").write_text(
        "name: keep\nresources: {accelerators: 'L4:1'}\noutputs: [runs]\n"
        "run: mkdir runs; echo theirs > runs/x\n"
    )
    (here / "runs").mkdir()
    (here / "runs" / "x").write_text("mine\n")

    result = gpuforge("run", "--yes", "--down")

    assert result.code == 74
    assert "1 output of keep would be lost, so it was not given back" in result.err
    assert "gpuforge pull runs -c keep --into elsewhere\n       gpuforge down keep\n" in result.err
    assert (here / "runs" / "x").read_text() == "mine\n"
    assert gpuforge("pull", "runs", "--into", "elsewhere").code == 0
    assert (here / "elsewhere" / "runs" / "x").read_text() == "theirs\n"
    assert gpuforge("down").code == 0


def test_ctrl_c_leaves_the_job_running(process, gpuforge, live):
    """Exit 130, and the ways back, to stop it and to give the machines back; logs resume from there."""
    child = process("run", "-c", "dev", "--", "echo started; sleep 3; echo ended; exit 5")
    assert child.stdout.readline() == b"started\n"

    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)

    assert child.returncode == 130
    first, up, back, stop, down = err.decode().strip("\n").splitlines()
    job = first.removeprefix("detached — job ").removesuffix(" runs on.")
    assert up.startswith("  still up      dev until ")
    assert back == f"  back          gpuforge logs {job} -f"
    assert stop == f"  stop it       gpuforge cancel {job}"
    assert down == "  give it back  gpuforge down dev"
    followed = gpuforge("logs", job, "-f")
    assert (followed.code, followed.out) == (5, "started\nended\n")


def test_ctrl_c_with_json_is_a_document(process, gpuforge, live):
    """What runs on, and how to come back."""
    child = process("run", "-c", "dev", "--json", "--", "echo started; sleep 60")
    child.stdout.readline()
    assert b"started" in child.stdout.readline()

    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    document = json.loads(out)

    assert child.returncode == document["error"]["exit_code"] == 130
    assert document["error"]["code"] == "detached"
    assert document["data"]["state"] == "running"
    assert err == b""
    assert gpuforge("cancel", document["data"]["job_id"], "--grace", "0").code == 0


def test_a_reader_that_went_away_leaves_the_job_running(live, process):
    """``gpuforge run … | head``: exit 141 and a word, no traceback."""
    child = process("run", "-c", "dev", "--", "yes | head -c 3000000")
    assert child.stdout.read(2) == b"y\n"

    child.stdout.close()
    err = child.stderr.read()

    assert child.wait(30) == 141
    assert err.startswith(b"nobody reads on \xe2\x80\x94 job ")
    assert b"Traceback" not in err
    assert b"Exception" not in err


def test_a_failing_setup_is_shown_as_such(gpuforge, live):
    """The run never began."""
    (live / "gpuforge.yaml").write_text(TASK.replace("echo preparing", "echo no; exit 12"))

    result = gpuforge("run")

    assert result.code == 12
    assert "  ✗ setup       echo no; exit 12 " in result.err
    assert "▶" not in result.err
    assert "setup failed" in result.err


def test_setup_can_be_skipped(gpuforge, live):
    """When nothing changed."""
    (live / "gpuforge.yaml").write_text(TASK.replace("outputs: [runs]\n", ""))
    (live / "data.txt").write_text("1")

    result = gpuforge("run", "--no-setup")

    assert result.code == 0
    assert "preparing" not in result.out
    assert "setup" not in result.err


def test_a_job_that_waits_its_turn_says_so(terminal, gpuforge, live):
    """On a terminal, while it waits; the line goes when its turn comes."""
    gpuforge("run", "-d", "-c", "dev", "--", "sleep 60")
    before = str(gpuforge("jobs", "--json").document["data"][-1]["alias"])
    waiting = "queue       waiting for the job before it  ("

    result = terminal(
        "run", "-c", "dev", "--", "echo mine",
        once=(waiting, lambda: gpuforge("cancel", before, "--grace", "0")),
    )  # fmt: skip

    assert result.code == 0
    assert waiting in result.out
    assert result.out.endswith("mine\n")
    assert waiting not in result.out.rpartition("\x1b[2K")[2]


def test_with_down_a_job_that_cannot_start_gives_the_machines_back(gpuforge, here):
    """Nothing was lost by it, and nothing bills on; what was left out of the copy is named."""
    (here / "gpuforge.yaml").write_text(TASK.replace("launcher", "x").replace("name: dev", "name: early"))
    assert gpuforge("up", "--yes").code == 0
    os.mkfifo(here / "pipe")

    result = gpuforge("run", "--down", "--max-duration", "9h", "--yes")

    assert result.code == 75
    assert "warning: pipe was not copied: " in result.err
    assert "early is gone, says its cloud" in result.err
    assert gpuforge("status").out == "no cluster is up\n"


def test_outputs_of_a_lost_machine_are_not_waited_for(capsys, tmp_path):
    """The loss is already said; a warning names what is missing. Of any other job it is an error."""

    class Gone:
        name = "dies"

        def pull(self, patterns, into):
            raise ConnectError("dies does not answer")

    output.begin(as_json=False)
    task = SimpleNamespace(outputs=("runs",), workdir=tmp_path)

    told = run._bring_back(Gone(), task, SimpleNamespace(state=JobState.LOST), alone=True)

    assert told is None
    assert capsys.readouterr().err == (
        "warning: outputs runs could not be brought back: dies does not answer\n"
    )
    with pytest.raises(ConnectError):
        run._bring_back(Gone(), task, SimpleNamespace(state=JobState.FAILED), alone=True)


def test_outputs_that_nobody_made_are_warned_of(gpuforge, live):
    """And no good line stands beside the warning."""
    (live / "gpuforge.yaml").write_text(TASK.replace("outputs: [runs]", "outputs: [no such]"))
    (live / "data.txt").write_text("1")

    result = gpuforge("run")

    assert result.code == 0
    assert "warning: no such: nothing on the machine matches\n" in result.err
    assert "outputs" not in result.err
