"""Who uses the machine: sessions that are attached, and none that were left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from gpuforge.node.remote import usage
from gpuforge.node.remote.processes import descendants, environment_of
from gpuforge.testing.nodes import eventually


@pytest.fixture
def home(tmp_path) -> str:
    return str(tmp_path)


def shell_of(home: str, **environ: str) -> subprocess.Popen[bytes]:
    """What an SSH server starts: a session leader with standing input and a connection in its environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": home, "SSH_CONNECTION": "1 2 3 4", **environ}
    return subprocess.Popen(
        ["/bin/bash", "-c", "sleep 60; true"], env=environment, stdin=subprocess.PIPE, start_new_session=True
    )


@contextlib.contextmanager
def running(process: subprocess.Popen[bytes]):
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        if process.stdin:
            process.stdin.close()


def test_somebody_logged_in_is_seen_until_the_session_ends(home):
    with running(shell_of(home)):
        eventually(lambda: usage.session(home) == "an SSH session")

    assert usage.session(home) == ""


@pytest.mark.parametrize("environ", [{"HOME": "/elsewhere"}, {"GPUFORGE_JOB_FOLDER": "/jobs/job-1"}])
def test_sessions_of_other_machines_and_jobs_do_not_count(home, environ):
    with running(shell_of(home, **environ)) as shell:
        eventually(lambda: descendants(shell.pid))

        assert usage.session(home) == ""


def test_what_a_session_left_behind_does_not_count(home):
    environment = {"PATH": os.environ["PATH"], "HOME": home, "SSH_CONNECTION": "1 2 3 4"}
    left = subprocess.Popen(
        ["sleep", "60"], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    with running(left):
        eventually(lambda: environment_of(left.pid).get(b"SSH_CONNECTION"))

        assert usage.session(home) == ""


def test_a_look_by_the_agent_does_not_count(home):
    environment = {"PATH": os.environ["PATH"], "HOME": home, "SSH_CONNECTION": "1 2 3 4"}
    argv = [sys.executable, "-c", "import time\ntime.sleep(60)\nfrom gpuforge_node import agent"]
    with running(
        subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, start_new_session=True)
    ) as look:
        eventually(lambda: environment_of(look.pid).get(b"SSH_CONNECTION"))

        assert usage.session(home) == ""


def test_a_machine_without_a_gpu_has_none_at_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert usage.gpu_utilisation() == 0
