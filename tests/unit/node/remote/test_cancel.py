"""The request to end a job."""

from __future__ import annotations

import os

from gpuforge.node.remote.cancel import cancel, request_stop
from gpuforge.node.remote.files import read_json


def test_a_request_to_stop_is_written_once_and_only_for_the_living(made_job):
    dead, living = made_job("dead"), made_job("living")
    lock = living.take_lock()

    for reason in ("preemption", "user"):
        request_stop(dead, reason, 1)
        request_stop(living, reason, 1)
    os.close(lock)

    assert read_json(dead.file("cancel.json")) is None
    assert read_json(living.file("cancel.json")) == {"reason": "preemption", "grace": 1}


def test_cancelling_a_dead_job_records_its_loss(made_job, root):
    made_job()

    assert cancel(root, {"job_id": "job-1"})["state"] == "lost"
