"""A job's folder: who holds it, its one exit record, and what is found when its supervisor is dead."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from gpuforge.node.remote.files import AgentError, write_json
from gpuforge.node.remote.folder import JobFolder, list_status
from gpuforge.node.remote.processes import leftovers
from gpuforge.node.remote.records import make_record
from gpuforge.testing.nodes import eventually


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "A", "a b", "-a", "a\n", "x" * 65, "é"])
def test_a_job_id_cannot_leave_its_folder(root, job_id):
    with pytest.raises(AgentError, match="is not a job id"):
        JobFolder(root, job_id)


def test_the_first_exit_record_stays(made_job):
    folder = made_job()

    first = folder.claim(make_record(0, "failed", phase="run", cause="exit 3", exit_code=3))
    second = folder.claim(make_record(0, "succeeded", phase="run", cause="", exit_code=0))

    assert second == first == folder.record
    assert not Path(folder.file("exit.json.reserve")).exists()


def test_an_exit_record_never_outgrows_its_reserve(made_job):
    folder = made_job()

    folder.claim(make_record(0, "failed", phase="run", cause="é" * 9000, exit_code=3))

    assert Path(folder.file("exit.json")).stat().st_size == 4096
    assert folder.record["exit_code"] == 3


def test_a_dead_supervisor_is_found_once_and_a_living_one_left_alone(made_job):
    folder = made_job()
    lock = folder.take_lock()

    assert folder.is_alive()
    assert folder.reap() is None
    os.close(lock)
    assert not folder.is_alive()
    record = folder.reap()
    assert (record["state"], record["cause"]) == ("lost", "its supervisor was killed")
    assert folder.reap() == record


def test_a_folder_without_a_supervisor_yet_is_not_reaped(root):
    folder = JobFolder(root, "job-1")

    assert folder.reap() is None
    assert not folder.is_alive()
    assert folder.take_lock() is None


def test_reaping_kills_what_carries_the_jobs_marker(made_job):
    folder = made_job()
    environment = {**os.environ, "GPUFORGE_JOB_FOLDER": folder.path}
    with subprocess.Popen(["sleep", "60"], env=environment) as child:
        eventually(lambda: child.pid in leftovers(folder.path, folder.identity))
        folder.reap()

        assert child.wait(5) == -9


def test_reaping_spares_the_same_job_on_another_node_of_this_computer(made_job):
    folder = made_job()
    environment = {**os.environ, "GPUFORGE_JOB_ID": "job-1", "GPUFORGE_JOB_FOLDER": "/elsewhere/jobs/job-1"}
    with subprocess.Popen(["sleep", "60"], env=environment) as child:
        folder.reap()

        assert child.poll() is None
        child.kill()


def test_jobs_are_listed_by_age_with_their_numbers(made_job, root):
    for job_id in ("b", "a", "c"):
        made_job(job_id)
    (Path(root) / "jobs" / "queue.lock").touch()
    (Path(root) / "jobs" / "d").mkdir()

    listed = [(row["alias"], row["job_id"], row["state"]) for row in list_status(root, None)]

    assert listed == [(1, "a", "lost"), (2, "b", "lost"), (3, "c", "lost")]
    assert [row["job_id"] for row in list_status(root, ["b", "z"])] == ["b"]


def test_starting_waits_for_a_start_under_way(root):
    folder = JobFolder(root, "job-1")
    Path(folder.path).mkdir(parents=True)
    lock = folder.take_lock()
    other = threading.Timer(0.3, write_json, [folder.file("pid.json"), {"pid": 1}])
    other.start()

    assert folder.lock_to_start() is None
    other.join()
    os.close(lock)
