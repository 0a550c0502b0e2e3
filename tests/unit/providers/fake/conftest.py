"""The ``fake`` provider with rows alone, under a clock that tests own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gpuforge.models.instance import InstanceRequest, InstanceState
from gpuforge.models.resources import Accelerator, CapacityType, Need
from gpuforge.providers.fake.provider import FakeProvider
from gpuforge.state.paths import Paths
from gpuforge.testing.clock import ManualClock
from gpuforge.testing.provider_contract import Query

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq1Qn1bH0tTqmB5uXwDqYc1mI0c0YqjUj3dS2bZ8kR me"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def make_provider(gpuforge_home, clock):
    made = []

    def make(**environ):
        words = {"GPUFORGE_HOME": str(gpuforge_home), "GPUFORGE_FAKE_MACHINES": "none", **environ}
        provider = FakeProvider(Paths.from_environment(words), clock, words)
        made.append(provider)
        return provider

    yield make
    for provider in made:
        provider.cloud.close()


@pytest.fixture
def provider(make_provider):
    return make_provider()


@pytest.fixture
def make_request(provider, clock):
    def make(
        *names, gpu="L4", capacity=CapacityType.ON_DEMAND, hours=1, zone="sim-central1-a", cluster="train"
    ):
        need = Need(accelerators=(Accelerator(gpu),) if gpu else (), capacity_type=capacity, zone=zone)
        deadline = clock.now() + timedelta(hours=hours)
        return InstanceRequest(
            names=names or ("gf-abc-0-1",),
            offering=next(iter(provider.list_offerings(need))),
            image=provider.resolve_image(Query()),
            disk_gib=50,
            deadline=deadline,
            labels={
                "gf-owner": "ann",
                "gf-journal": "j",
                "gf-cluster": cluster,
                "gf-intent": "1-a",
                "gf-epoch": "1",
                "gf-deadline": str(int(deadline.timestamp())),
            },
            ssh_public_key=KEY,
        )

    return make


@pytest.fixture
def running(provider, make_request, clock):
    """Create and wait."""

    def run(*names, **changes):
        accepted = provider.create(provider.prepare_create(make_request(*names, **changes)))
        return provider.wait(accepted.refs, InstanceState.RUNNING, clock.now() + timedelta(minutes=1))

    return run
