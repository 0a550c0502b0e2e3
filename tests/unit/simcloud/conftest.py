"""A simulated cloud of rows under a clock that tests own, and a control that plays machines in memory."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from gpuforge.simcloud.body import CreateBody
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.simcloud.instances import Key
from gpuforge.simcloud.settings import MachineMode, SimSettings
from gpuforge.testing.clock import ManualClock

ZONE = "sim-central1-a"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq1Qn1bH0tTqmB5uXwDqYc1mI0c0YqjUj3dS2bZ8kR test"


class FakeControl:
    """Implements ``MachineControl`` in memory: which machines live, and what was asked of them."""

    def __init__(self):
        self.alive = {}
        self.specs = []
        self.swept = []
        self.next_error = None

    def boot_many(self, specs, cloud_folder):
        if self.next_error is not None:
            error, self.next_error = self.next_error, None
            raise error
        pids = []
        for spec in specs:
            assert str(spec.folder) not in self.alive, "a machine was started twice"
            spec.folder.mkdir(parents=True, exist_ok=True)
            (spec.folder / "console.log").write_text("booting\n")
            self.specs.append(spec)
            self.alive[str(spec.folder)] = 100_000 + len(self.specs)
            pids.append(self.alive[str(spec.folder)])
        return pids

    def is_alive(self, folder):
        return str(folder) in self.alive

    def die(self, folder):
        self.alive.pop(str(folder), None)

    def sweep(self, folder, instance_id):
        self.swept.append(instance_id)
        return int(self.alive.pop(str(folder), None) is not None)


@pytest.fixture
def sim_clock():
    return ManualClock()


@pytest.fixture
def make_cloud(tmp_path, sim_clock):
    """More than one process's view of the cloud in ``tmp_path``."""
    made = []

    def make(*, machines=MachineMode.NONE, control=None, folder=tmp_path / "cloud", seed=1, **settings):
        cloud = SimCloud(
            folder,
            sim_clock,
            settings=SimSettings(machines=machines, **settings),
            control=control,
            draw=random.Random(seed),  # noqa: S311 - repeatable on purpose
        )
        made.append(cloud)
        return cloud

    yield make
    for cloud in made:
        cloud.close()


@pytest.fixture
def sim_cloud(make_cloud):
    return make_cloud()


@pytest.fixture
def fake_control():
    return FakeControl()


@pytest.fixture
def make_body(sim_clock):
    """Bytes of a create request; keywords change its fields."""

    def make(*names, minutes=60.0, owner="ann", **changes):
        deadline = sim_clock.now() + timedelta(minutes=minutes)
        fields = {
            "names": names or ("gf-a-0-1",),
            "zone": ZONE,
            "instance_type": "sim-l4",
            "capacity_type": "on_demand",
            "image": "pytorch-2-9-cu129",
            "disk_gib": 50,
            "deadline": deadline,
            "labels": {
                "gf-owner": owner,
                "gf-journal": "j",
                "gf-cluster": "c1",
                "gf-intent": "1-abc",
                "gf-deadline": str(int(deadline.timestamp())),
            },
            "user": "ubuntu",
            "ssh_keys": (f"ubuntu:{PUBLIC_KEY}",),
            "metadata": {"enable-guest-attributes": "TRUE"},
        }
        return CreateBody(**{**fields, **changes}).to_bytes()

    return make


@pytest.fixture
def at():
    """A key by name in the usual zone."""

    def key(name="gf-a-0-1", instance_id=None, zone=ZONE):
        return Key(zone=zone, name=name, id=instance_id)

    return key


@pytest.fixture
def only(sim_cloud):
    """The one instance that lives."""

    def find(cloud=None):
        (row,) = (cloud or sim_cloud).everything()
        return row

    return find
