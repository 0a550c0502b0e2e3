"""Preemption with its notice, and reboots."""

from __future__ import annotations

import pytest

from gpuforge.simcloud.instances import Ending, Status
from gpuforge.simcloud.refusals import Code, SimError


def test_a_spot_instance_runs_through_its_notice_and_is_then_deleted(sim_cloud, make_body, sim_clock, only):
    sim_cloud.create("t", make_body(capacity_type="spot"))
    sim_clock.advance(1)
    sim_cloud.preempt(only().id, notice_seconds=30)
    sim_clock.advance(29)
    assert only().status is Status.RUNNING
    assert only().notice_at < only().preempt_at
    sim_clock.advance(1)
    assert (only().status, only().ending) == (Status.STOPPING, Ending.PREEMPTED)
    sim_clock.advance(1)
    assert sim_cloud.everything() == []


def test_one_that_is_to_be_kept_ends_terminated(sim_cloud, make_body, sim_clock, only):
    sim_cloud.create("t", make_body(capacity_type="spot", termination_action="STOP"))
    sim_clock.advance(1)
    sim_cloud.preempt(only().id, notice_seconds=0)
    sim_clock.advance(5)
    assert (only().status, only().reason, only().preempt_at) == (Status.TERMINATED, "preempted", None)


def test_a_second_preemption_does_not_move_the_first(sim_cloud, make_body, sim_clock, only):
    sim_cloud.create("t", make_body(capacity_type="spot"))
    sim_clock.advance(1)
    sim_cloud.preempt(only().id, notice_seconds=30)
    first = only().preempt_at
    sim_cloud.preempt(only().id, notice_seconds=300)
    assert only().preempt_at == first


def test_on_demand_instances_are_not_preempted(sim_cloud, make_body, sim_clock, only):
    sim_cloud.create("t", make_body())
    sim_clock.advance(1)
    with pytest.raises(SimError, match="is on demand") as caught:
        sim_cloud.preempt(only().id)
    assert "use_spot" in caught.value.hint


def test_a_negative_notice_is_refused(sim_cloud, make_body, sim_clock, only):
    sim_cloud.create("t", make_body(capacity_type="spot"))
    sim_clock.advance(1)
    with pytest.raises(SimError, match="not negative"):
        sim_cloud.preempt(only().id, notice_seconds=-1)


@pytest.mark.parametrize("verb", ["preempt", "reboot"])
def test_what_is_unknown_or_not_running_is_refused(sim_cloud, make_body, only, verb):
    with pytest.raises(SimError) as caught:
        getattr(sim_cloud, verb)("123")
    assert caught.value.code is Code.NOT_FOUND
    sim_cloud.create("t", make_body(capacity_type="spot"))
    with pytest.raises(SimError, match="does not run: it is PROVISIONING"):
        getattr(sim_cloud, verb)(only().id)


def test_a_reboot_counts_and_boots_again(sim_cloud, make_body, sim_clock, only, at):
    sim_cloud.create("t", make_body())
    sim_clock.advance(10)
    sim_cloud.reboot(only().id)
    assert only().reboot_count == 1
    assert sim_cloud.guest(at()).attributes == {}
    sim_clock.advance(1)
    assert sim_cloud.guest(at()).attributes
