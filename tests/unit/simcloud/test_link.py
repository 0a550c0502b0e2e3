"""The supervisor's side: what is wanted is read, what happened is reported, and a missing cloud means off."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest

from gpuforge.simcloud.instances import Status
from gpuforge.simcloud.link import CloudLink
from gpuforge.simcloud.machines.link import Wanted
from gpuforge.simcloud.settings import MachineMode


@pytest.fixture
def cloud(make_cloud, fake_control, make_body, sim_clock):
    cloud = make_cloud(machines=MachineMode.PROCESSES, control=fake_control)
    cloud.create("t", make_body(capacity_type="spot"))
    sim_clock.advance(1)
    cloud.settle()
    return cloud


@pytest.fixture
def link(cloud, sim_clock):
    link = CloudLink(cloud.folder, sim_clock)
    yield link
    link.close()


@pytest.fixture
def row(cloud):
    (row,) = cloud.everything()
    return row


def test_a_running_instance_shall_run_until_its_deadline(link, row):
    desired = link.desired(row.id)
    assert desired.wanted is Wanted.RUN
    assert desired.deadline.timestamp() == row.deadline
    assert (desired.notice_at, desired.preempt_at, desired.reboot_count) == (None, None, 0)


def test_what_has_no_row_shall_be_gone(link):
    assert link.desired("123").wanted is Wanted.GONE


def test_a_deleted_instance_shall_be_gone_from_the_moment_it_is_asked(link, cloud, row, at):
    cloud.delete([at()])
    assert link.desired(row.id).wanted is Wanted.GONE


def test_without_its_cloud_a_machine_shall_be_gone(link, cloud, row):
    assert link.desired(row.id).wanted is Wanted.RUN
    shutil.rmtree(cloud.folder)
    assert link.desired(row.id).wanted is Wanted.GONE


def test_a_file_that_cannot_be_read_now_leaves_the_last_word_standing(link, cloud, row, sim_clock):
    before = link.desired(row.id)
    path = cloud.folder / "cloud.sqlite3"
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    assert link.desired(row.id) == before
    fresh = CloudLink(cloud.folder, sim_clock)
    assert fresh.desired(row.id).wanted is Wanted.RUN


def test_what_booted_has_its_real_address(link, cloud, row):
    assert row.ready_at is None
    link.booted(row.id, pid=4242, host="127.9.9.9", port=12222)
    (after,) = cloud.everything()
    assert (after.host, after.port) == ("127.9.9.9", 12222)
    assert after.ready_at is not None


def test_attributes_are_published_replaced_and_bounded(link, cloud, row, at):
    link.publish(row.id, "hostkeys/ssh-ed25519", "first")
    link.publish(row.id, "hostkeys/ssh-ed25519", "a 'b'\nü;")
    link.publish(row.id, "big", "x" * 300_000)
    link.publish("123", "key", "nobody's")
    assert cloud.guest(at()).attributes == {"hostkeys/ssh-ed25519": "a 'b'\nü;"}
    for number in range(200):
        link.publish(row.id, f"key-{number}", "")
    assert len(cloud.guest(at()).attributes) == 100
    link.publish(row.id, "key-1", "again")
    assert cloud.guest(at()).attributes["key-1"] == "again"


def test_a_reboot_is_wanted_until_it_is_done(link, cloud, row):
    cloud.reboot(row.id)
    assert link.desired(row.id).wanted is Wanted.REBOOT
    assert link.desired(row.id).reboot_count == 1
    link.rebooted(row.id, 1)
    assert link.desired(row.id).wanted is Wanted.RUN


def test_a_reboot_that_was_asked_for_meanwhile_stays_wanted(link, cloud, row):
    cloud.reboot(row.id)
    cloud.reboot(row.id)
    link.rebooted(row.id, 1)
    assert link.desired(row.id).wanted is Wanted.REBOOT
    link.rebooted(row.id, 2)
    assert link.desired(row.id).wanted is Wanted.RUN


def test_a_notice_and_its_soft_off_are_told(link, cloud, row, sim_clock):
    cloud.preempt(row.id, notice_seconds=30)
    desired = link.desired(row.id)
    assert desired.wanted is Wanted.RUN
    assert desired.preempt_at - desired.notice_at == timedelta(seconds=30)
    sim_clock.advance(30)
    cloud.settle()
    assert link.desired(row.id).wanted is Wanted.STOP


def test_a_preempted_machine_that_is_off_early_does_not_wait_for_the_window(
    link, cloud, row, sim_clock, fake_control
):
    cloud.preempt(row.id, notice_seconds=0)
    assert [x.status for x in cloud.everything()] == [Status.STOPPING]
    sim_clock.advance(2)
    assert [x.status for x in cloud.everything()] == [Status.STOPPING]
    fake_control.alive.clear()
    link.powered_off(row.id, "preempted")
    assert cloud.everything() == []


def test_the_supervisor_may_notice_a_preemption_first(link, cloud, row, fake_control):
    fake_control.alive.clear()
    link.powered_off(row.id, "preempted")
    assert cloud.everything() == []


def test_the_supervisor_may_notice_the_deadline_first(link, cloud, row, fake_control):
    fake_control.alive.clear()
    link.powered_off(row.id, "deadline")
    assert cloud.everything() == []


@pytest.mark.parametrize(
    ("reason", "shown"),
    [("guest", "powered off from inside"), ("boot failed", "boot failed"), ("host", "this computer")],
)
def test_any_other_power_off_leaves_it_terminated_and_says_why(link, cloud, row, reason, shown):
    link.powered_off(row.id, reason)
    (after,) = cloud.everything()
    assert after.status is Status.TERMINATED
    assert shown in after.reason
    assert link.desired(row.id).wanted is Wanted.GONE


def test_a_power_off_while_it_is_deleted_does_not_stop_the_delete(
    link, cloud, row, at, sim_clock, fake_control
):
    cloud.delete([at()])
    fake_control.alive.clear()
    link.powered_off(row.id, "deleted")
    sim_clock.advance(1)
    assert cloud.everything() == []
    assert fake_control.swept == []  # a supervisor that ended well has left nothing to sweep


def test_an_idle_machine_can_delete_itself(link, cloud, row, fake_control):
    link.self_delete(row.id)
    assert link.desired(row.id).wanted is Wanted.GONE
    (after,) = cloud.everything()
    assert "idle" in after.reason
    fake_control.alive.clear()
    assert cloud.everything() == []
