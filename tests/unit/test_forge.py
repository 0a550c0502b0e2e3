"""The façade on a real simulated machine: the way of the data, as a Python program walks it."""

from __future__ import annotations

import os
from datetime import timedelta
from decimal import Decimal

import pytest

import gpuforge as gf
from gpuforge.models.cluster import ClusterState
from gpuforge.models.job import JobState
from gpuforge.simcloud.cloud import SimCloud

RESOURCES = {"accelerators": "L4:1"}


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """A façade with a home of its own, and a cluster of one machine that is up."""
    home = tmp_path_factory.mktemp("forge")
    steps = []
    environ = {
        "GPUFORGE_HOME": str(home),
        "GPUFORGE_FAKE_LATENCY": "0",
        "PATH": os.environ["PATH"],
    }
    forge = gf.Forge(environ=environ, progress=steps.append)
    task = gf.Task(name="py", run="true", resources=RESOURCES)
    with forge.up(task) as cluster:
        yield forge, cluster, steps
    assert forge.clusters() == ()
    assert list(SimCloud(forge.paths.simcloud, forge.clock).everything()) == []


def test_a_plan_costs_nothing_and_names_the_worst_case(up):
    """Before anything is rented."""
    forge, _, _ = up

    plan = forge.plan(gf.Task(name="other", run="true", resources=RESOURCES, max_duration="2h"))

    assert plan.cluster_name == "other"
    assert plan.best.worst_case_usd > plan.best.usd_per_hour * 2 > 0
    assert not forge.is_up("other")


def test_up_tells_its_steps_and_reuses_what_fits(up):
    """The same cluster, by its cloud's word."""
    forge, cluster, steps = up
    task = gf.Task(name="py", run="true", resources=RESOURCES)

    again = forge.up(task)

    assert again.record.uuid == cluster.record.uuid
    assert forge.reuse(task, name="py").record.state is ClusterState.READY
    assert forge.reuse(task, name="nosuch") is None
    assert {"instance", "ssh"} <= {step.key for step in steps if step.done}
    with pytest.raises(gf.PolicyError):
        forge.up(gf.Task(name="py", run="true", resources={"accelerators": "H100:8"}))


def test_a_job_is_run_followed_and_asked(up, tmp_path):
    """Copied, started, its lines, its end; its output comes back."""
    forge, cluster, _ = up
    work = tmp_path / "wo rk"
    work.mkdir()
    (work / "x.txt").write_text("42")
    task = gf.Task(
        name="py", workdir=str(work), resources=RESOURCES, envs={"A": "it's"}, secrets={"T": "top-secret-1"},
        run="echo $A; cat x.txt; echo; mkdir -p out; cp x.txt out/y; printf end; exit 3",
    )  # fmt: skip

    job = forge.run(task)
    told = list(job.logs(follow=True))
    status = job.wait()

    assert told == ["it's\n", "42\n", "end"]
    assert (status.state, status.exit_code) == (JobState.FAILED, 3)
    assert list(job.logs()) == told
    assert cluster.job().job_id == cluster.job(str(status.alias)).job_id == job.job_id
    assert [each.job_id for each in cluster.jobs()][-1] == job.job_id
    report = cluster.pull(["out"], into=tmp_path / "back")
    assert report.sent_files == 1
    assert (tmp_path / "back" / "out" / "y").read_text() == "42"
    assert b"top-secret-1" not in b"".join(p.read_bytes() for p in forge.paths.state.glob("*") if p.is_file())


def test_logs_go_on_where_somebody_stopped_reading(up):
    """By the stream's own offsets."""
    _, cluster, _ = up
    job = cluster.start(gf.Task(run="echo one; echo two", resources=RESOURCES))
    job.wait()
    first = job.chunks(follow=False)
    whole = b"".join(chunk.data for chunk in first)

    rest = job.chunks(offsets={0: 4})

    assert whole == b"one\ntwo\n"
    assert b"".join(chunk.data for chunk in rest) == b"two\n"
    assert first.offsets == {0: 8}


def test_a_path_is_pushed_and_a_job_cancelled(up, tmp_path):
    """Small doors of the same house."""
    _, cluster, _ = up
    (tmp_path / "f").write_text("1")
    (report,) = cluster.push_path(tmp_path / "f", "workdir/g")
    job = cluster.start(gf.Task(run="sleep 60"), setup=False)

    status = job.cancel(grace_seconds=0)

    assert report.sent_files == 1
    assert status.state is JobState.CANCELLED


def test_money_and_name_are_known_while_it_is_up(up):
    """From the journal alone."""
    forge, cluster, _ = up

    assert forge.spent(cluster.record).usd > Decimal(0)
    assert forge.is_up("py")
    assert forge.cluster().name == forge.cluster("py").name == cluster.name == "py"
    assert forge.clusters(refresh=False)[0].uuid == cluster.record.uuid
    assert (cluster.folder / "ssh_config").exists()
    assert repr(cluster).startswith("Cluster py: 1 × L4 on fake/sim-central1-a, ready, ends 2")
    cluster.start(gf.Task(run="true")).wait()
    assert repr(cluster.job()).endswith(" on py")


def test_what_is_not_there_is_refused(up):
    """By kind."""
    forge, cluster, _ = up

    with pytest.raises(gf.NotFoundError):
        forge.down("nosuch")
    with pytest.raises(gf.JobError):
        cluster.job("9999")
    with pytest.raises(gf.DeadlineError):
        cluster.start(gf.Task(run="true"), needs=timedelta(hours=9))


def test_an_error_in_the_with_block_gives_the_machines_back(tmp_path, monkeypatch):
    """And is not swallowed."""
    monkeypatch.setenv("GPUFORGE_FAKE_LATENCY", "0")
    forge = gf.Forge()
    task = gf.Task(name="short", run="true", resources=RESOURCES)

    with pytest.raises(ZeroDivisionError), forge.up(task):
        _ = 1 / 0

    assert forge.clusters() == ()
    assert not forge.is_up("short")


def test_lists_and_checks_need_no_machine(monkeypatch):
    """Of the provider that is asked for, or of all."""
    monkeypatch.setenv("GPUFORGE_FAKE_MACHINES", "none")
    forge = gf.Forge(provider="fake")

    assert {o.provider for o in forge.offerings("fake")} == {"fake"}
    assert {name for name, _ in forge.image_rows()} >= {"fake"}
    assert forge.checks()
    assert forge.settings.origins["provider"] == "flag"
    assert forge.gc().complete


def test_a_stopped_stock_is_an_error_with_every_attempt(monkeypatch):
    """Nothing is left of it."""
    monkeypatch.setenv("GPUFORGE_FAKE_MACHINES", "none")
    monkeypatch.setenv("GPUFORGE_FAKE_LATENCY", "0")
    forge = gf.Forge()
    SimCloud(forge.paths.simcloud, forge.clock).stockout("L4", zone=None, minutes=5, capacity_type=None)

    with pytest.raises(gf.ProvisionError) as caught:
        forge.up(gf.Task(name="none", run="true", resources=RESOURCES))

    assert len(caught.value.attempts) == 7
    assert forge.clusters() == ()
