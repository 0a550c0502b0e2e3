"""The façade: lists, waiting, sharing between processes, and a thousand instances."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gpuforge.models.clock import SystemClock
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.simcloud.instances import Status
from gpuforge.simcloud.refusals import SimError


def test_an_owner_sees_its_own_and_nothing_else(sim_cloud, make_body):
    sim_cloud.create("t1", make_body("a", owner="ann"))
    sim_cloud.create("t2", make_body("b", owner="bob"))
    assert [row.name for row in sim_cloud.list_owned("ann").instances] == ["a"]
    assert sim_cloud.list_owned("ann; DROP TABLE instances").instances == ()


def test_keys_are_answered_in_their_order_without_the_dead(sim_cloud, make_body, at, sim_clock):
    sim_cloud.create("t", make_body("a", "b", "c"))
    sim_clock.advance(1)
    sim_cloud.delete([at("b")])
    sim_clock.advance(1)
    listing = sim_cloud.list_keys([at("c"), at("b"), at("never"), at("a")])
    assert [row.name for row in listing.instances] == ["c", "a"]
    assert listing.server_time == sim_clock.now()


def test_watching_sleeps_until_something_happens_and_ends_at_its_deadline(
    sim_cloud, make_body, at, sim_clock
):
    sim_cloud.create("t", make_body())
    looks = list(sim_cloud.watch([at()], sim_clock.now() + timedelta(seconds=5)))
    assert looks[0][0].status is Status.PROVISIONING
    assert looks[-1][0].status is Status.RUNNING
    assert sum(sim_clock.slept) == pytest.approx(5)
    assert len(looks) < 60


def test_watching_follows_the_incarnation_it_saw_first(sim_cloud, make_body, at, sim_clock):
    sim_cloud.create("t1", make_body())
    looks = sim_cloud.watch([at()], sim_clock.now() + timedelta(seconds=5))
    (first,) = next(looks)
    sim_cloud.delete([at()])
    sim_clock.advance(1)
    sim_cloud.create("t2", make_body(disk_gib=51))
    (later,) = next(looks)
    assert (later.id, later.status) == (first.id, Status.DELETED)


def test_watching_a_name_that_is_not_there_yet_finds_it_when_it_comes(sim_cloud, make_body, at, sim_clock):
    looks = sim_cloud.watch([at()], sim_clock.now() + timedelta(seconds=5))
    assert next(looks) == [None]
    sim_cloud.create("t", make_body())
    assert next(looks)[0].name == "gf-a-0-1"


def test_two_processes_share_one_cloud(sim_cloud, make_cloud, make_body, at, sim_clock):
    other = make_cloud(seed=2)
    sim_cloud.create("t", make_body())
    sim_clock.advance(1)
    assert [row.name for row in other.everything()] == ["gf-a-0-1"]
    other.delete([at()])
    sim_clock.advance(1)
    assert sim_cloud.everything() == []


def test_stock_is_set_only_for_what_is_sold(sim_cloud):
    with pytest.raises(SimError):
        sim_cloud.set_stock("sim-west1-b", "sim-t4", 3)


def test_a_thousand_instances_are_few_statements(make_cloud, make_body, sim_clock, at):
    """Counted in looks at the file, not in seconds."""
    cloud = make_cloud()
    cloud.set_quota("sim-central1", "CPUS", 5000)
    names = tuple(f"n{i}" for i in range(1000))
    cloud.create("t", make_body(*names, instance_type="sim-cpu-2", minutes=5))
    sim_clock.advance(1)
    statements = []
    connect = cloud._database._connect

    def counting(**words):
        connection = connect(**words)
        connection.set_trace_callback(statements.append)
        return connection

    cloud._database._connect = counting
    assert len(cloud.list_owned("ann").instances) == 1000
    assert len(statements) < 60
    sim_clock.advance(600)
    assert cloud.everything() == []


def test_zero_latency_needs_no_waiting(make_cloud, make_body, at):
    from gpuforge.simcloud.settings import Latency  # noqa: PLC0415 - only here

    cloud = make_cloud(latency=Latency().scaled(0))
    cloud.create("t", make_body())
    assert [row.status for row in cloud.everything()] == [Status.RUNNING]
    cloud.delete([at()])
    assert cloud.everything() == []


def test_the_defaults_are_real_machines_and_the_shipped_profile(tmp_path):
    cloud = SimCloud(tmp_path / "cloud", SystemClock())
    assert cloud.everything() == []
    assert "sim-l4" in cloud.profile.types
    cloud.close()
