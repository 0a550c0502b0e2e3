"""kill -9 of the client around every journal commit of a create and of a delete; then ``gc`` from a new one.

The client is a real process, the cloud is the simulated one on disk. "Before" a commit means after the calls
that led to it, so every request is in flight or applied once.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("create_driver.py")
# LEASE, then a stock-out: INTENT+RESERVE · ACK · DELETE_INTENT · GONE+GONE+FAILED+RELEASE,
# then the next zone: INTENT+RESERVE · ACK · READY
CREATE_COMMITS = 8
# LEASE · DELETE_INTENT · GONE+GONE+RELEASE
DELETE_COMMITS = 3

pytestmark = pytest.mark.chaos


class Clients:
    """Every call is a client process of its own."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def run(self, home: Path, verb: str, side: str = "", commit: int = 0) -> dict:
        request = {"home": str(home), "verb": verb, "side": side, "commit": commit}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def die(self, home: Path, verb: str, side: str, commit: int) -> None:
        assert self.run(home, verb, side, commit)["code"] == -signal.SIGKILL

    def report(self, home: Path, verb: str) -> dict:
        done = self.run(home, verb)
        assert done["code"] == 0
        return done["answer"]


@pytest.fixture(scope="module")
def clients():
    with subprocess.Popen(
        [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Clients(process)
        process.stdin.close()


def points(commits: int) -> list[tuple[str, int]]:
    return [(side, commit) for commit in range(1, commits + 1) for side in ("before", "after")]


def assert_nothing_is_left(after: dict) -> None:
    assert after["instances"] == 0
    assert after["disks"] == 0
    assert after["reservations"] == 0
    assert after["strays"] == 0
    assert after["still_needed"] == 0
    assert after["behind"] == ""


@pytest.mark.parametrize(("side", "commit"), points(CREATE_COMMITS))
def test_a_create_killed_at_any_commit_leaves_nothing_after_gc(clients, gpuforge_home, side, commit):
    clients.die(gpuforge_home, "create", side, commit)

    after = clients.report(gpuforge_home, "collect")

    if (side, commit) == ("after", CREATE_COMMITS):
        # READY was written: the cluster is whole and in use, so gc leaves it; down gives it back
        assert after["states"] == ["ready"]
        assert after["instances"] == 2
        clients.report(gpuforge_home, "delete")
        after = clients.report(gpuforge_home, "collect")
        assert after["states"] == ["gone"]
    assert set(after["states"]) <= {"gone", "failed"}
    assert_nothing_is_left(after)


@pytest.mark.parametrize(("side", "commit"), points(DELETE_COMMITS))
def test_a_delete_killed_at_any_commit_is_finished_by_gc_or_down(clients, gpuforge_home, side, commit):
    clients.report(gpuforge_home, "create")
    clients.die(gpuforge_home, "delete", side, commit)

    after = clients.report(gpuforge_home, "collect")

    if after["states"] == ["ready"]:  # killed before the intent to delete: nothing was asked of the cloud yet
        clients.report(gpuforge_home, "delete")
        after = clients.report(gpuforge_home, "collect")
    assert after["states"] == ["gone"]
    assert_nothing_is_left(after)


def test_the_kills_cover_every_commit(clients, gpuforge_home):
    created = clients.report(gpuforge_home, "create")
    deleted = clients.report(gpuforge_home, "delete")

    assert created["commits"] == CREATE_COMMITS
    assert created["states"] == ["ready"]
    assert deleted["commits"] == DELETE_COMMITS
