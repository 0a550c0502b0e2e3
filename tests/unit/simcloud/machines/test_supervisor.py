"""What a supervisor decides, as a pure function of what is wanted and the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gpuforge.errors import StateError
from gpuforge.simcloud.machines.link import Desired, Wanted
from gpuforge.simcloud.machines.supervisor import (
    GuestWish,
    PowerOff,
    Reboot,
    decide,
    load_link,
    notice_shows,
)
from gpuforge.testing.machines import FileLink

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_PAST = _NOW - timedelta(seconds=1)
_FUTURE = _NOW + timedelta(seconds=1)


def _decide(*, guest=None, reboots_done=0, wanted=Wanted.RUN, deadline=_FUTURE, **more):
    desired = Desired(wanted=wanted, deadline=deadline, **more)
    return decide(desired, _NOW, reboots_done=reboots_done, guest=guest)


def test_a_machine_that_is_wanted_keeps_running():
    assert _decide() is None
    assert _decide(deadline=None, preempt_at=_FUTURE, notice_at=_PAST) is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("deleted", {"wanted": Wanted.GONE, "deadline": _PAST}),
        ("deadline", {"deadline": _NOW}),
        ("deadline", {"deadline": _PAST, "preempt_at": _PAST}),
        ("preempted", {"preempt_at": _PAST, "wanted": Wanted.STOP}),
        ("stopped", {"wanted": Wanted.STOP}),
        ("guest", {"guest": GuestWish(action="poweroff", due=_PAST)}),
        ("deadline", {"deadline": _PAST, "wanted": Wanted.REBOOT, "reboot_count": 1}),
    ],
)
def test_every_reason_to_end_is_seen_and_the_most_final_is_told(reason, words):
    step = _decide(**words)
    assert isinstance(step, PowerOff)
    assert step.reason == reason


def test_a_deleted_machine_gets_no_grace_and_a_preempted_one_its_half_minute():
    assert _decide(wanted=Wanted.GONE).grace_seconds == 0
    assert _decide(preempt_at=_PAST).grace_seconds == 30


def test_a_reboot_happens_once_for_each_count():
    assert _decide(wanted=Wanted.REBOOT, reboot_count=3, reboots_done=2) == Reboot(count=3)
    assert _decide(wanted=Wanted.REBOOT, reboot_count=3, reboots_done=3) is None


def test_the_guest_is_heard_at_its_time():
    assert _decide(guest=GuestWish(action="reboot", due=_PAST)) == Reboot(count=None)
    assert _decide(guest=GuestWish(action="reboot", due=_FUTURE)) is None


@pytest.mark.parametrize(
    ("notice", "preempt", "shows"),
    [(None, None, False), (_PAST, _FUTURE, True), (None, _PAST, True), (_FUTURE, None, False)],
)
def test_the_notice_shows_from_its_moment_on(notice, preempt, shows):
    desired = Desired(wanted=Wanted.RUN, deadline=None, notice_at=notice, preempt_at=preempt)
    assert notice_shows(desired, _NOW) is shows


def test_a_link_is_made_by_name(tmp_path):
    link = load_link("gpuforge.testing.machines:FileLink", tmp_path)
    assert isinstance(link, FileLink)


@pytest.mark.parametrize("name", ["no.such.module:X", "gpuforge.testing.machines:Nothing", "json"])
def test_a_link_that_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(StateError, match=name.partition(":")[0]):
        load_link(name, tmp_path)
