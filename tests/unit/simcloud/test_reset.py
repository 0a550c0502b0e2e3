"""A reset leaves nothing: no machine, no file, whatever state the cloud's file is in."""

from __future__ import annotations

import pytest

from gpuforge.simcloud.link import CloudLink
from gpuforge.simcloud.machines.link import Wanted
from gpuforge.simcloud.settings import MachineMode


@pytest.fixture
def cloud(make_cloud, fake_control, make_body, sim_clock):
    cloud = make_cloud(machines=MachineMode.PROCESSES, control=fake_control)
    cloud.create("t", make_body("a", "b"))
    sim_clock.advance(1)
    cloud.settle()
    return cloud


def test_every_machine_is_killed_and_every_file_removed(cloud, fake_control):
    folder = cloud.folder
    assert cloud.reset() == 2
    assert fake_control.alive == {}
    assert [path.name for path in folder.parent.iterdir() if "cloud" in path.name] == []


def test_a_supervisor_that_looks_afterwards_finds_that_it_is_gone(cloud):
    (first, _) = cloud.everything()
    link = CloudLink(cloud.folder)
    assert link.desired(first.id).wanted is Wanted.RUN
    cloud.reset()
    assert link.desired(first.id).wanted is Wanted.GONE
    link.close()


def test_a_new_cloud_begins_empty_under_the_same_object(cloud, make_body):
    cloud.reset()
    assert cloud.everything() == []
    cloud.create("t", make_body("a", "b"))
    assert len(cloud.everything()) == 2


def test_a_file_that_cannot_be_read_is_no_obstacle(cloud, fake_control):
    cloud.close()
    (cloud.folder / "cloud.sqlite3").write_bytes(b"garbage" * 1000)
    (cloud.folder / "cloud.sqlite3-wal").unlink(missing_ok=True)
    assert cloud.reset() == 0
    assert fake_control.alive == {}
    assert not cloud.folder.exists()


def test_resetting_what_never_was_is_nothing(make_cloud, fake_control):
    cloud = make_cloud(control=fake_control)
    assert cloud.reset() == 0
    assert not cloud.folder.exists()
