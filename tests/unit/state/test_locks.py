"""Cluster locks: one holder, named to the loser, and gone with its process whatever kills it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gpuforge.errors import StateError
from gpuforge.state.locks import cluster_lock, exclusive, holder, is_locked, try_cluster_lock
from gpuforge.state.paths import Paths

HOSTILE = ["../../etc/passwd", "a b", "a\nb", "ünï; 'q'", ".", ".."]


@pytest.fixture
def paths(tmp_path):
    return Paths(config=tmp_path, state=tmp_path / "state", cache=tmp_path)


_HOLDER = """
import sys
from pathlib import Path
from gpuforge.models.clock import SystemClock
from gpuforge.state.locks import cluster_lock
from gpuforge.state.paths import Paths
root = Path(sys.argv[1])
paths = Paths(config=root, state=root / "state", cache=root)
with cluster_lock(paths, "train", clock=SystemClock()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of ``train``."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_loser_waits_ten_seconds_and_names_the_holder(paths, manual_clock, other):
    with (
        pytest.raises(StateError, match="another command is working on the cluster 'train'") as caught,
        cluster_lock(paths, "train", clock=manual_clock),
    ):
        pytest.fail("held twice")

    assert f"process {other.pid} (-c " in caught.value.details
    assert sum(manual_clock.slept) == pytest.approx(10, abs=0.1)


def test_the_loser_gets_it_when_the_holder_ends_in_time(paths, manual_clock, other):
    real_sleep = manual_clock.sleep

    def sleep(seconds):
        other.stdin.close()
        other.wait()
        real_sleep(seconds)

    manual_clock.sleep = sleep

    with cluster_lock(paths, "train", clock=manual_clock):
        assert holder(paths, "train").pid == os.getpid()


def test_a_killed_holder_leaves_no_lock(paths, manual_clock, other):
    assert is_locked(paths, "train")

    other.kill()
    other.wait()

    assert not is_locked(paths, "train")
    with cluster_lock(paths, "train", clock=manual_clock, wait_seconds=0):
        pass


def test_the_lock_is_free_after_its_block_even_on_an_error(paths, manual_clock):
    with pytest.raises(ValueError, match="inside"), cluster_lock(paths, "train", clock=manual_clock):
        raise ValueError("inside")

    assert not is_locked(paths, "train")
    assert holder(paths, "train") is None


def test_a_lock_nobody_ever_took_is_free_and_makes_no_file(paths):
    assert not is_locked(paths, "train")
    assert not paths.locks.exists()


def test_clusters_do_not_share_locks(paths, manual_clock):
    with cluster_lock(paths, "a", clock=manual_clock), cluster_lock(paths, "b", clock=manual_clock):
        assert is_locked(paths, "a")
        assert is_locked(paths, "b")


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leads_out_of_the_folder(paths, manual_clock, name):
    with cluster_lock(paths, name, clock=manual_clock):
        assert is_locked(paths, name)
        assert len(list(paths.locks.iterdir())) == 2


def test_trying_says_no_instead_of_waiting(paths, manual_clock, other):
    with try_cluster_lock(paths, "train", clock=manual_clock) as held:
        assert held is False
    with try_cluster_lock(paths, "another", clock=manual_clock) as held:
        assert held is True
    assert manual_clock.slept == []


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"pid": "x", "command": "", "since": ""}'])
def test_a_note_that_cannot_be_read_is_no_note(paths, manual_clock, note):
    with cluster_lock(paths, "train", clock=manual_clock):
        (paths.locks / "train.holder").write_text(note)

        assert holder(paths, "train") is None
        with pytest.raises(StateError) as caught, cluster_lock(paths, "train", clock=manual_clock):
            pytest.fail("held twice")

    assert "a process that left no note" in caught.value.details


def test_the_note_holds_no_arguments_beyond_the_verb(paths, manual_clock, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/gpuforge", "run", "task.yaml", "--secret", "hunter2"])

    with cluster_lock(paths, "train", clock=manual_clock):
        note = json.loads((paths.locks / "train.holder").read_text())

    assert note["command"] == "gpuforge run"


def test_a_lock_that_cannot_be_made_is_a_typed_error(tmp_path, manual_clock):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(StateError, match="cannot be opened"),
        exclusive(tmp_path / "file" / "x.lock", clock=manual_clock, wait_seconds=0),
    ):
        pytest.fail("held")
