"""Faults: armed in the file, met by call and count, and every fate shows as it says."""

from __future__ import annotations

import pytest

from gpuforge.simcloud.faults import CALLS, Fate
from gpuforge.simcloud.refusals import Code, SimError


def _code(call):
    with pytest.raises(SimError) as caught:
        call()
    return caught.value.code


def _names(listing):
    return [row.name for row in listing.instances]


def test_a_lost_request_is_not_done(sim_cloud, make_body):
    sim_cloud.faults.add(call="create", fate="lost")
    assert _code(lambda: sim_cloud.create("t", make_body())) is Code.UNAVAILABLE
    assert sim_cloud.everything() == []


def test_a_lost_reply_hides_what_was_done(sim_cloud, make_body, only):
    sim_cloud.faults.add(call="create", fate="reply_lost")
    assert _code(lambda: sim_cloud.create("t", make_body())) is Code.UNAVAILABLE
    assert sim_cloud.create("t", make_body()).targets == (only().id,)


def test_a_late_create_lands_when_nobody_waits_any_more(sim_cloud, make_body, sim_clock, only):
    sim_cloud.faults.add(call="create", fate="late:5")
    assert _code(lambda: sim_cloud.create("t", make_body())) is Code.UNAVAILABLE
    sim_clock.advance(4.9)
    assert sim_cloud.everything() == []
    sim_clock.advance(0.2)
    assert only().created == pytest.approx(sim_clock.now().timestamp() - 0.1)


def test_a_late_create_after_the_re_drive_makes_nothing_new(sim_cloud, make_body, sim_clock, only, at):
    sim_cloud.faults.add(call="create", fate="late:5")
    assert _code(lambda: sim_cloud.create("t", make_body())) is Code.UNAVAILABLE
    sim_cloud.create("t", make_body())
    sim_cloud.delete([at()])
    sim_clock.advance(10)
    assert sim_cloud.everything() == []


def test_a_late_create_past_its_deadline_is_refused(sim_cloud, make_body, sim_clock):
    sim_cloud.faults.add(call="create", fate="late:120")
    assert _code(lambda: sim_cloud.create("t", make_body(minutes=1))) is Code.UNAVAILABLE
    sim_clock.advance(1000)
    assert sim_cloud.everything() == []


def test_a_late_delete_lands_too(sim_cloud, make_body, sim_clock, only, at):
    sim_cloud.create("t", make_body())
    sim_cloud.faults.add(call="delete", fate="late:5")
    assert _code(lambda: sim_cloud.delete([at(instance_id=only().id)])) is Code.UNAVAILABLE
    sim_clock.advance(4)
    assert _names(sim_cloud.list_owned("ann")) == ["gf-a-0-1"]
    sim_clock.advance(2)
    assert sim_cloud.everything() == []


@pytest.mark.parametrize("code", list(Code))
def test_any_refusal_can_be_had(sim_cloud, make_body, code):
    sim_cloud.faults.add(call="create", fate=f"error:{code}")
    assert _code(lambda: sim_cloud.create("t", make_body())) is code
    assert sim_cloud.everything() == []


@pytest.mark.parametrize("call", ["delete", "list", "wait", "boot_report"])
def test_every_call_can_be_lost(sim_cloud, make_body, sim_clock, at, call):
    sim_cloud.create("t", make_body())
    calls = {
        "delete": lambda: sim_cloud.delete([at()]),
        "list": lambda: sim_cloud.list_keys([at()]),
        "wait": lambda: next(iter(sim_cloud.watch([at()], sim_clock.now()))),
        "boot_report": lambda: sim_cloud.guest(at()),
    }
    sim_cloud.faults.add(call=call, fate="lost")
    assert _code(calls[call]) is Code.UNAVAILABLE
    calls[call]()


def test_an_operation_can_fail_after_it_was_accepted(sim_cloud, make_body, sim_clock):
    sim_cloud.faults.add(call="create", fate="operation_error:internal")
    operation = sim_cloud.create("t", make_body("a", "b"))
    assert operation.error_code == ""
    sim_clock.advance(1)
    assert sim_cloud.operation(operation.name).error_code == "internal"
    assert sim_cloud.everything() == []


def test_a_delete_can_be_accepted_and_come_to_nothing(sim_cloud, make_body, sim_clock, only, at):
    sim_cloud.create("t", make_body(minutes=1))
    sim_cloud.faults.add(call="delete", fate="operation_error:internal")
    sim_cloud.delete([at()])
    sim_clock.advance(30)
    assert only().ending is None
    sim_clock.advance(60)
    assert sim_cloud.everything() == []


def test_a_delete_can_leave_the_disk_and_the_next_one_takes_it(sim_cloud, make_body, sim_clock, only, at):
    sim_cloud.create("t", make_body())
    key = at(instance_id=only().id)
    sim_cloud.faults.add(call="delete", fate="keeps_disk")
    sim_cloud.delete([key])
    assert sim_cloud.list_owned("ann").disks == ()
    sim_clock.advance(1)
    (disk,) = sim_cloud.list_owned("ann").disks
    assert (disk.name, disk.size_gib, disk.instance_id) == ("gf-a-0-1", 50, key.id)
    assert sim_cloud.list_keys([at()]).disks == (disk,)
    assert sim_cloud.list_keys([at("other")]).disks == ()
    assert sim_cloud.list_owned("bob").disks == ()
    sim_cloud.delete([key])
    assert sim_cloud.list_owned("ann").disks == ()


def test_a_stale_list_hides_the_fresh_and_shows_the_dead(sim_cloud, make_body, sim_clock, at):
    sim_cloud.create("t1", make_body("old"))
    sim_clock.advance(60)
    sim_cloud.create("t2", make_body("new"))
    sim_cloud.delete([at("old")])
    sim_clock.advance(1)
    sim_cloud.faults.add(call="list", fate="stale:30")
    assert _names(sim_cloud.list_owned("ann")) == ["old"]
    assert _names(sim_cloud.list_owned("ann")) == ["new"]


def test_an_incomplete_list_says_which_zone_is_missing(sim_cloud, make_body):
    sim_cloud.create("t1", make_body("a"))
    sim_cloud.create("t2", make_body("b", zone="sim-central1-b"))
    sim_cloud.faults.add(call="list", fate="incomplete:sim-central1-b")
    listing = sim_cloud.list_owned("ann")
    assert _names(listing) == ["a"]
    assert not listing.complete
    assert "sim-central1-b" in listing.warnings[0]


def test_the_clouds_clock_can_be_ahead_of_ours(sim_cloud, sim_clock):
    sim_cloud.faults.add(call="list", fate="skew:90")
    ahead = (sim_cloud.list_owned("ann").server_time - sim_clock.now()).total_seconds()
    assert ahead == 90


def test_faults_let_calls_pass_and_act_as_often_as_they_were_told(sim_cloud):
    sim_cloud.faults.add(call="list", fate="error:rate_limit", times=2, after=1)
    sim_cloud.list_owned("ann")
    for _ in range(2):
        assert _code(lambda: sim_cloud.list_owned("ann")) is Code.RATE_LIMIT
    sim_cloud.list_owned("ann")
    assert sim_cloud.faults.armed() == []


def test_the_first_armed_acts_first_and_one_per_call(sim_cloud):
    sim_cloud.faults.add(call="list", fate="error:quota")
    sim_cloud.faults.add(call="list", fate="error:internal")
    assert _code(lambda: sim_cloud.list_owned("ann")) is Code.QUOTA
    assert _code(lambda: sim_cloud.list_owned("ann")) is Code.INTERNAL


def test_another_process_meets_what_this_one_armed(sim_cloud, make_cloud):
    sim_cloud.faults.add(call="list", fate="lost", times=2)
    other = make_cloud()
    assert _code(lambda: other.list_owned("ann")) is Code.UNAVAILABLE
    (armed,) = sim_cloud.faults.armed()
    assert (armed.call, armed.fate, armed.times) == ("list", Fate.LOST, 1)


def test_clearing_disarms_them_all(sim_cloud):
    sim_cloud.faults.add(call="list", fate="lost")
    sim_cloud.faults.clear()
    sim_cloud.list_owned("ann")


@pytest.mark.parametrize(
    "changes",
    [
        {"call": "explode"},
        {"fate": "explode"},
        {"fate": "none"},
        {"call": "list", "fate": "reply_lost"},
        {"fate": "late"},
        {"fate": "late:soon"},
        {"fate": "error:odd"},
        {"call": "list", "fate": "incomplete"},
        {"times": 0},
        {"after": -1},
    ],
)
def test_a_fault_that_cannot_be_is_refused(sim_cloud, changes):
    fault = {"call": "create", "fate": "lost", **changes}
    assert _code(lambda: sim_cloud.faults.add(**fault)) is Code.INVALID
    assert sim_cloud.faults.armed() == []


def test_every_call_is_known_by_name():
    assert set(CALLS) == {"create", "delete", "list", "wait", "boot_report"}
