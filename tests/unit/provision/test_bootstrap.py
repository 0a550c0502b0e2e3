"""From a ready cluster to working nodes, over real SSH to machines of the simulated cloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from gpuforge.errors import StateError
from gpuforge.models.clock import SystemClock
from gpuforge.models.plan import Option, Plan
from gpuforge.models.resources import Need
from gpuforge.providers.fake.provider import FakeProvider
from gpuforge.provision.bootstrap import connect, ensure_watchers, node_clients, node_endpoint
from gpuforge.provision.context import Context
from gpuforge.provision.create import create_cluster
from gpuforge.provision.teardown import delete_cluster
from gpuforge.state.journal import Journal
from gpuforge.state.paths import Paths


@pytest.fixture
def real(tmp_path):
    """A context over the simulated cloud with real machines; everything is given back at the end."""
    paths = Paths(config=tmp_path, state=tmp_path / "s", cache=tmp_path / "cache")
    clock = SystemClock()
    provider = FakeProvider(paths, clock, {"GPUFORGE_FAKE_LATENCY": "0"})
    with Journal.open(paths.journal, head_path=paths.journal_head, clock=clock) as journal:
        yield Context(provider=provider, journal=journal, paths=paths, clock=clock, owner="ada")
    provider.cloud.reset()
    provider.cloud.close()


def plan(provider, nodes) -> Plan:
    query = SimpleNamespace(name=None, arch="x86_64", needs_gpu=True)
    offering = next(x for x in provider.list_offerings(Need()) if x.accelerator and not x.restriction)
    option = Option(
        offering=offering,
        need=Need(),
        image=provider.resolve_image(query),
        usd_per_hour=None,
        worst_case_usd=None,
    )
    now = SystemClock().now()
    return Plan(
        cluster_name="boot",
        provider="fake",
        simulated=True,
        options=(option,),
        excluded=(),
        num_nodes=nodes,
        max_duration=timedelta(hours=1),
        made_at=now,
        deadline=now + timedelta(hours=1),
        autostop_minutes=20,
    )


def test_real_machines_are_reached_watched_and_given_back(real):
    cluster = create_cluster(real, plan(real.provider, 2), labels={})

    ensure_watchers(real, cluster)
    clients = node_clients(cluster, real.paths)
    watchers = [client.watcher() for client in clients]
    assert [client.rank for client in clients] == [0, 1]
    assert all(watcher.alive for watcher in watchers)
    ensure_watchers(real, cluster, clients=clients)  # once more changes nothing
    done = connect(cluster, cluster.head, real.paths).run(["printf", "%s", "a 'b'; c"])
    assert done.stdout == b"a 'b'; c"

    delete_cluster(real, cluster)

    assert real.provider.cloud.everything() == []
    assert list(real.paths.sockets.glob("*")) == []


def test_a_node_that_was_never_ready_cannot_be_reached(context, cloud, make, paths):
    cluster = create_cluster(context, make.plan(), labels={})

    with pytest.raises(StateError, match="no address or host key yet"):
        node_endpoint(replace(cluster.head, host_key=None), paths.cluster("train"))
