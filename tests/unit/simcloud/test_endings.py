"""How instances end: irrevocably once begun, gone when finished, with their disk or without."""

from __future__ import annotations

from gpuforge.simcloud.endings import begin_ending, finish_ending, terminate
from gpuforge.simcloud.instances import Ending, Status, by_ids


def _begin(cloud, ids, ending, at=4e9):  # far ahead, so that settling does not finish it
    with cloud._database.write() as db:
        return begin_ending(db, ids, ending, at=at, due=at + 1000, reason="why")


def _row(cloud, instance_id):
    with cloud._database.read() as db:
        return by_ids(db, [instance_id])[instance_id]


def test_a_delete_shows_as_stopping_and_then_is_gone(sim_cloud, make_body, sim_clock, at, only):
    sim_cloud.create("t", make_body())
    sim_clock.advance(1)
    sim_cloud.delete([at()])
    assert (only().status, only().ending) == (Status.STOPPING, Ending.DELETE)
    instance_id = only().id
    sim_clock.advance(0.2)
    assert sim_cloud.everything() == []
    assert _row(sim_cloud, instance_id).status is Status.DELETED


def test_an_end_that_has_begun_is_not_begun_again(sim_cloud, make_body, only):
    sim_cloud.create("t", make_body())
    ids = [only().id]
    assert len(_begin(sim_cloud, ids, Ending.DELETE)) == 1
    assert _begin(sim_cloud, ids * 2, Ending.DEADLINE) == []
    assert only().ending is Ending.DELETE


def test_a_delete_overtakes_a_preemption_but_not_the_reverse(sim_cloud, make_body, only):
    sim_cloud.create("t", make_body(capacity_type="spot", termination_action="STOP"))
    ids = [only().id]
    _begin(sim_cloud, ids, Ending.PREEMPTED)
    _begin(sim_cloud, ids, Ending.DELETE)
    assert only().ending is Ending.DELETE
    _begin(sim_cloud, ids, Ending.PREEMPTED)
    assert only().ending is Ending.DELETE


def test_instances_of_two_zones_end_under_two_operations(sim_cloud, make_body):
    sim_cloud.create("t1", make_body())
    sim_cloud.create("t2", make_body(zone="sim-central1-b"))
    ids = [row.id for row in sim_cloud.everything()]
    assert len(_begin(sim_cloud, ids, Ending.DELETE)) == 2


def test_what_is_gone_or_unknown_cannot_be_ended(sim_cloud, make_body, only, sim_clock, at):
    sim_cloud.create("t", make_body())
    instance_id = only().id
    sim_cloud.delete([at()])
    sim_clock.advance(10)
    sim_cloud.settle()
    assert _begin(sim_cloud, [instance_id, "12", "x';--"], Ending.DELETE) == []


def test_finishing_what_has_not_begun_changes_nothing(sim_cloud, make_body, only):
    sim_cloud.create("t", make_body())
    with sim_cloud._database.write() as db:
        finish_ending(db, [only().id, "77"], at=1.0, new_id=lambda: "9")
    assert only().status is Status.PROVISIONING


def test_a_terminated_instance_stays_until_its_deadline_and_no_longer(sim_cloud, make_body, only, sim_clock):
    sim_cloud.create("t", make_body(minutes=5))
    sim_clock.advance(1)
    sim_cloud.settle()
    with sim_cloud._database.write() as db:
        terminate(db, only().id, reason="powered off from inside")
    sim_clock.advance(290)
    assert (only().status, only().reason) == (Status.TERMINATED, "powered off from inside")
    sim_clock.advance(10)
    assert sim_cloud.everything() == []
