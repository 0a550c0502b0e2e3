"""Machines behind instances: started once, missed when they die, and nothing of them left at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest

from gpuforge.errors import ProviderError
from gpuforge.models.clock import SystemClock
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.simcloud.instances import Status
from gpuforge.simcloud.power import installed_control, machine_folder
from gpuforge.simcloud.settings import Latency, MachineMode, SimSettings


@pytest.fixture
def cloud(make_cloud, fake_control):
    return make_cloud(machines=MachineMode.PROCESSES, control=fake_control)


def _running(cloud, sim_clock, body):
    ids = cloud.create("t", body).targets
    sim_clock.advance(1)
    cloud.settle()
    return [machine_folder(cloud.folder, instance_id) for instance_id in ids]


def _states(cloud):
    return [row.status for row in cloud.everything()]


def test_a_gang_is_started_together_and_once(cloud, fake_control, sim_clock, make_body):
    _running(cloud, sim_clock, make_body("a", "b"))
    cloud.settle()
    assert [spec.name for spec in fake_control.specs] == ["a", "b"]


def test_a_machine_is_told_its_shape(cloud, fake_control, sim_clock, make_body):
    (folder,) = _running(cloud, sim_clock, make_body(instance_type="sim-l4-4x", capacity_type="spot"))
    (spec,) = fake_control.specs
    assert spec.folder == folder
    assert spec.accelerator == ("L4", 24, 4)
    assert (spec.vcpus, spec.memory_gib, spec.spot) == (48, 192, True)
    assert (spec.image, spec.driver, spec.cuda) == ("pytorch-2-9-cu129", "580", "12.9")
    assert spec.ssh_public_keys == (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq1Qn1bH0tTqmB5uXwDqYc1mI0c0YqjUj3dS2bZ8kR test",
    )
    assert spec.startup_seconds == 0.2
    assert all(port < 32768 for port in spec.ports)


def test_a_machine_without_gpus_has_none(cloud, fake_control, sim_clock, make_body):
    _running(cloud, sim_clock, make_body(instance_type="sim-cpu-8", image="common-cpu"))
    assert fake_control.specs[0].accelerator is None


def test_a_machine_whose_supervisor_died_is_terminated_and_swept(cloud, fake_control, sim_clock, make_body):
    (folder,) = _running(cloud, sim_clock, make_body())
    fake_control.die(folder)
    (row,) = cloud.everything()
    assert row.status is Status.TERMINATED
    assert "died" in row.reason
    assert fake_control.swept == [row.id]


def test_a_dead_machine_is_gone_at_its_deadline_with_its_folder(cloud, fake_control, sim_clock, make_body):
    (folder,) = _running(cloud, sim_clock, make_body(minutes=5))
    fake_control.die(folder)
    sim_clock.advance(600)
    assert _states(cloud) == []
    assert not folder.exists()


def test_a_delete_waits_until_the_machine_is_off(cloud, fake_control, sim_clock, make_body, at):
    (folder,) = _running(cloud, sim_clock, make_body())
    cloud.delete([at()])
    sim_clock.advance(1)
    assert _states(cloud) == [Status.STOPPING]
    fake_control.die(folder)
    assert _states(cloud) == []
    assert not folder.exists()


def test_a_machine_that_does_not_power_off_is_killed(cloud, fake_control, sim_clock, make_body, at):
    (folder,) = _running(cloud, sim_clock, make_body())
    cloud.delete([at()])
    sim_clock.advance(6)
    assert _states(cloud) == []
    assert not fake_control.is_alive(folder)
    assert not folder.exists()


def test_a_preempted_machine_that_is_kept_keeps_its_files(cloud, fake_control, sim_clock, make_body):
    body = make_body(capacity_type="spot", termination_action="STOP")
    (folder,) = _running(cloud, sim_clock, body)
    (row,) = cloud.everything()
    cloud.preempt(row.id, notice_seconds=0)
    sim_clock.advance(31)
    assert _states(cloud) == [Status.TERMINATED]
    assert folder.exists()
    assert not fake_control.is_alive(folder)


@pytest.mark.parametrize("error", [OSError("no space left"), ProviderError("did not start")])
def test_a_machine_that_cannot_be_started_says_why(cloud, fake_control, sim_clock, make_body, error):
    fake_control.next_error = error
    _running(cloud, sim_clock, make_body())
    (row,) = cloud.everything()
    assert row.status is Status.TERMINATED
    assert str(error) in row.reason


def test_a_start_that_failed_because_it_was_started_already_is_left_alone(
    cloud, fake_control, sim_clock, make_body
):
    cloud.create("t", make_body())
    (row,) = cloud.everything()
    fake_control.alive[str(machine_folder(cloud.folder, row.id))] = 1
    fake_control.next_error = ProviderError("the machine already runs")
    sim_clock.advance(1)
    assert _states(cloud) == [Status.RUNNING]


def _claim(cloud, *, by, at):
    with cloud._database.write() as db:
        db.execute("UPDATE instances SET claimed_at=?, claimed_by=?", (at, by))


def test_a_start_is_not_repeated_while_its_claimer_lives(cloud, fake_control, sim_clock, make_body):
    cloud.create("t", make_body())
    _claim(cloud, by=os.getpid(), at=sim_clock.now().timestamp())
    sim_clock.advance(1)
    assert _states(cloud) == [Status.RUNNING]
    assert fake_control.specs == []


def test_a_start_whose_claimer_died_is_taken_over(cloud, fake_control, sim_clock, make_body):
    cloud.create("t", make_body())
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    _claim(cloud, by=dead.pid, at=sim_clock.now().timestamp())
    sim_clock.advance(1)
    cloud.settle()
    assert len(fake_control.specs) == 1


def test_a_start_that_was_claimed_long_ago_is_taken_over(cloud, fake_control, sim_clock, make_body):
    cloud.create("t", make_body())
    _claim(cloud, by=1, at=sim_clock.now().timestamp())
    sim_clock.advance(200)
    cloud.settle()
    assert len(fake_control.specs) == 1


def test_rows_without_machines_start_none(make_cloud, fake_control, sim_clock, make_body):
    cloud = make_cloud(control=fake_control)
    _running(cloud, sim_clock, make_body())
    assert fake_control.specs == []


_REMOVE = """
import os, sys
from pathlib import Path
from gpuforge.simcloud.power import remove_folder
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
folder = Path(sys.argv[1]) / "machine"
locked = folder / "a b;\\nü" / "locked"
locked.mkdir(parents=True)
(locked / "file").write_text("x")
(folder / "link").symlink_to(Path(sys.argv[1]) / "outside")
locked.chmod(0o000)
locked.parent.chmod(0o500)
remove_folder(folder)
print(folder.exists())
"""


def test_a_folder_is_removed_with_what_its_guest_locked_and_no_link_is_followed():
    """As an ordinary user, since root is stopped by no mode; in a folder that one may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        outside = Path(name) / "outside"
        outside.mkdir()
        (outside / "kept").write_text("x")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
        done = subprocess.run(
            [sys.executable, "-B", "-c", _REMOVE, name],
            capture_output=True,
            text=True,
            check=False,
            env=clean,
        )
        assert (done.stdout.strip(), done.stderr) == ("False", "")
        assert (outside / "kept").read_text() == "x"
        assert (outside.stat().st_mode & 0o777) == 0o755


# ── with real machines ─────────────────────────────────────────────────────────────────────────────────

_CLIENT = """
import sys
from pathlib import Path
from gpuforge.models.clock import SystemClock
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.simcloud.settings import Latency, SimSettings
cloud = SimCloud(Path(sys.argv[1]), SystemClock(), settings=SimSettings(latency=Latency().scaled(0)))
cloud.create("t", Path(sys.argv[2]).read_bytes())
"""


@pytest.fixture
def real(tmp_path, make_body):
    """A client that creates a real machine and exits; how long the machine may live is asked."""
    folder = tmp_path / "cloud"
    clouds = []

    def start(seconds):
        body = tmp_path / "body"
        deadline = SystemClock().now() + timedelta(seconds=seconds)
        body.write_bytes(make_body(deadline=deadline, instance_type="sim-cpu-2", image="common-cpu"))
        subprocess.run([sys.executable, "-c", _CLIENT, str(folder), str(body)], check=True, timeout=120)
        (machine,) = (folder / "machines").iterdir()
        cloud = SimCloud(folder, SystemClock(), settings=SimSettings(latency=Latency().scaled(0)))
        clouds.append(cloud)
        return cloud, machine

    yield start
    for cloud in clouds:
        cloud.reset()
        cloud.close()


def _until(condition, seconds=60):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "not in time"
        time.sleep(0.05)


def test_a_machine_past_its_deadline_is_off_though_no_client_lives(real):
    cloud, machine = real(3)
    _until(lambda: not installed_control().is_alive(machine))
    _until(lambda: cloud.everything() == [])
    assert not machine.exists()


def test_a_real_machine_whose_supervisor_is_killed_is_terminated_by_the_next_look(real):
    cloud, machine = real(600)
    _until(lambda: cloud.everything()[0].ready_at is not None)
    installed_control().sweep(machine, machine.name)
    (row,) = cloud.everything()
    assert row.status is Status.TERMINATED
