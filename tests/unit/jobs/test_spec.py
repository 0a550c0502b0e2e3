"""A task becomes a job, unless the machines end before it could."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from gpuforge.errors import DeadlineError
from gpuforge.jobs.spec import job_spec
from gpuforge.models.clock import rfc3339
from gpuforge.redact import Secret
from gpuforge.testing.nodes import local_cluster

CLUSTER = local_cluster(1)
TASK = SimpleNamespace(
    name="a task", setup="pip install x", run="python t.py\n", envs={"A": "1"},
    secrets={"T": Secret("hush-hush")}, launcher="torchrun",
)  # fmt: skip


def test_everything_the_task_says_is_in_the_job():
    """Word by word."""
    spec = job_spec(TASK, cluster=CLUSTER, now=CLUSTER.created)

    assert (spec.name, spec.setup, spec.run, spec.launcher) == (
        TASK.name,
        TASK.setup,
        TASK.run,
        TASK.launcher,
    )
    assert spec.envs == TASK.envs
    assert spec.secrets["T"].reveal() == "hush-hush"
    assert "hush-hush" not in repr(spec)


def test_ids_are_fresh_and_sort_by_time():
    """So the newest is the last."""
    moments = [CLUSTER.created + timedelta(seconds=s) for s in (0, 1, 2, 60)]

    made = [job_spec(TASK, cluster=CLUSTER, now=now).job_id for now in moments]

    assert made == sorted(made)
    assert len({job_spec(TASK, cluster=CLUSTER, now=CLUSTER.created).job_id for _ in range(20)}) == 20


def test_setup_may_be_skipped_and_a_name_is_always_there():
    """The cluster's, where the task has none."""
    nameless = SimpleNamespace(**{**vars(TASK), "name": None})

    spec = job_spec(nameless, cluster=CLUSTER, now=CLUSTER.created, setup=False)

    assert (spec.name, spec.setup) == ("local", "")


def test_after_the_deadline_nothing_starts():
    """Both times are named."""
    now = CLUSTER.deadline

    with pytest.raises(DeadlineError) as caught:
        job_spec(TASK, cluster=CLUSTER, now=now)

    assert caught.value.exit_code == 75
    assert rfc3339(CLUSTER.deadline) in caught.value.details
    assert rfc3339(now) in caught.value.details


@pytest.mark.parametrize(("needs", "fits"), [(timedelta(minutes=60), True), (timedelta(minutes=61), False)])
def test_what_it_needs_must_be_left(needs, fits):
    """To the second; the refusal names both ends."""
    if fits:
        assert job_spec(TASK, cluster=CLUSTER, now=CLUSTER.created, needs=needs)
        return
    with pytest.raises(DeadlineError) as caught:
        job_spec(TASK, cluster=CLUSTER, now=CLUSTER.created, needs=needs)
    assert rfc3339(CLUSTER.created + needs) in caught.value.details
    assert rfc3339(CLUSTER.deadline) in caught.value.details
