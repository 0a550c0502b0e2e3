"""Every registered provider keeps the provider contract: ``fake`` with rows alone, and with real machines."""

from __future__ import annotations

import os
import time
import urllib.request

import pytest

from gpuforge.models.clock import SystemClock
from gpuforge.models.instance import InstanceState, Selector
from gpuforge.models.resources import Accelerator, Need
from gpuforge.providers import registry
from gpuforge.state.paths import Paths
from gpuforge.testing.clock import ManualClock
from gpuforge.testing.provider_contract import ProviderContract


def _fake(home, clock, **settings):
    environ = {**os.environ, "GPUFORGE_HOME": str(home), **settings}
    return registry.load("fake", paths=Paths.from_environment(environ), clock=clock, environ=environ)


class TestFakeWithRowsAlone(ProviderContract):
    """The simulated cloud under a clock that tests own, with its latencies."""

    @pytest.fixture
    def clock(self):
        return ManualClock()

    @pytest.fixture
    def provider(self, gpuforge_home, clock):
        provider = _fake(gpuforge_home, clock, GPUFORGE_FAKE_MACHINES="none")
        yield provider
        provider.cloud.close()

    @pytest.fixture
    def need(self):
        return Need(accelerators=(Accelerator("L4"),))


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory):
    """One cloud for all tests, so that its image is built once; nothing may be left in it at the end."""
    home = tmp_path_factory.mktemp("home")
    yield home
    cloud = _fake(home, SystemClock(), GPUFORGE_FAKE_LATENCY="0").cloud
    give_up = time.monotonic() + 60
    while (left := [row.name for row in cloud.everything()]) and time.monotonic() < give_up:
        time.sleep(0.1)
    cloud.reset()
    assert left == []


class TestFakeWithMachines(ProviderContract):
    """The simulated cloud with a supervisor and an SSH server behind every instance."""

    @pytest.fixture
    def clock(self):
        return SystemClock()

    @pytest.fixture
    def provider(self, shared_cloud, clock):
        provider = _fake(shared_cloud, clock, GPUFORGE_FAKE_LATENCY="0")
        yield provider
        provider.cloud.close()

    @pytest.fixture
    def need(self):
        return Need(instance_type="sim-cpu-2")

    def test_a_node_deletes_itself_over_its_metadata_service(self, maker, provider):
        """The call that the report hands to the node's watcher works as it stands."""
        (instance,) = maker.running()
        report = maker.booted(instance.ref)
        call = report.self_delete
        # an address of its own, so the service has the first of its ports
        where = f"{report.route.host}:8775"
        request = urllib.request.Request(  # noqa: S310 - a fixed scheme
            call.url.replace("$GCE_METADATA_HOST", where), method=call.method, headers=dict(call.headers)
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            assert answer.status == 202
        maker.wait((instance.ref,), InstanceState.GONE)
        assert provider.list(Selector(refs=(instance.ref,))).instances == ()
