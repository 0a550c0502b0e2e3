"""Machines end without anybody's help: past their deadline, and when their supervisor is killed.

Both are shown with daemons that left their session and cleared their environment.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time

import pytest

from gpuforge.simcloud.machines import processes
from gpuforge.testing.nodes import eventually

pytestmark = pytest.mark.chaos

# one daemon is a job's; one was started over SSH, cleared its environment and left even the machine's folder
JOB = """\
(setsid sh -c 'echo $$ > ~/kept.pid; exec sleep 301' </dev/null >/dev/null 2>&1 &)
while ! [ -s ~/kept.pid ]; do sleep 0.05; done
echo ready
exec sleep 300
"""
LOGIN = """\
(cd /; exec </dev/null >/dev/null 2>&1
 env -i setsid /bin/sh -c "echo \\$\\$ > $HOME/cleared.pid; exec /bin/sleep 302" &)
"""


@pytest.fixture
def daemons(cli):
    """A live cluster ``dev`` on which two daemons run; their pids."""
    cli("up", "--gpus", "L4:1", "-c", "dev", "--yes").ok()
    cli("run", "-c", "dev", "--detach", "--", JOB).ok()
    cli("ssh", "dev", "--", LOGIN).ok()
    home = cli.machine() / "home"
    files = [home / "kept.pid", home / "cleared.pid"]
    eventually(lambda: all(file.exists() and file.read_text().strip() for file in files))
    return [int(file.read_text()) for file in files]


def rows(cli):
    with sqlite3.connect(cli.paths.journal) as db:
        return [kind for (kind,) in db.execute("SELECT kind FROM journal ORDER BY seq")]


def live(pids):
    return {row.pid for row in processes.process_table()} & set(pids)


def end_masters(cli):
    """Kill every client process that a command left for the next one."""
    for pid, words in cli.processes().items():
        if "[mux]" in words or words.startswith("ssh "):
            os.kill(pid, signal.SIGKILL)


def let_the_deadline_come(cli):
    with sqlite3.connect(cli.paths.simcloud / "cloud.sqlite3", timeout=20) as db:
        changed = db.execute("UPDATE instances SET deadline=?", (time.time() + 0.5,)).rowcount
    assert changed == 1


def test_with_no_client_alive_a_machine_past_its_deadline_is_gone(cli, daemons):
    assert live(daemons) == set(daemons)
    end_masters(cli)
    let_the_deadline_come(cli)

    cli.no_process_is_left()  # no command ran meanwhile
    assert live(daemons) == set()

    assert "GONE" not in rows(cli)
    assert cli("status").ok().out == "no cluster is up\n"
    assert rows(cli)[-2:] == ["GONE", "RELEASE"]
    assert cli.machines() == []
    assert cli("fake", "status", "--json").ok().document["data"]["instances"] == []
    cli("logs", "-c", "dev").refused(66, "no cluster 'dev' is up")
    assert "nothing to do" in cli("gc").ok().out


def test_a_machine_whose_supervisor_was_killed_leaves_no_process_after_the_next_command(cli, daemons):
    following = cli.start("logs", "-f", "-c", "dev")
    following.until("ready")
    os.kill(cli.supervisor(), signal.SIGKILL)

    shown = cli("status").ok()

    assert live(daemons) == set()
    assert "stopped" in shown.out
    following.wait().refused(67, "node 0 of dev has ended", "its machine died", "gpuforge down dev")
    end_masters(cli)
    assert cli.processes() == {}
    cli("run", "-c", "dev", "--", "true").refused(68)
    cli("down", "dev").ok()
    assert rows(cli)[-2:] == ["GONE", "RELEASE"]
