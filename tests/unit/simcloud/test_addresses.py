"""Addresses: a loopback network per cloud, given again only when free, ports clear of the kernel's."""

from __future__ import annotations

import random
import socket

import pytest

from gpuforge.simcloud import addresses
from gpuforge.simcloud.addresses import allocate, candidate_ports, choose_network
from gpuforge.simcloud.refusals import SimError

_FIRST_CLIENT_PORT = 32768


def _take(cloud, make_body, *names):
    cloud.create("-".join(names), make_body(*names))
    return {row.name: (row.host, row.port) for row in cloud.everything()}


def test_linux_gets_a_network_of_its_own_and_others_share_an_address():
    network = choose_network(random.Random(3), "linux")  # noqa: S311 - repeatable
    assert network.startswith("127.")
    assert network.count(".") == 2
    assert choose_network(random.Random(3), "darwin") == ""  # noqa: S311


def test_a_network_whose_port_is_taken_is_passed_over():
    first = choose_network(random.Random(5), "linux")  # noqa: S311 - repeatable
    with socket.socket() as taken:
        taken.bind((f"{first}.2", 2222))
        taken.listen()
        assert choose_network(random.Random(5), "linux") != first  # noqa: S311


def test_a_listener_everywhere_leaves_a_network_all_the_same(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        monkeypatch.setattr(addresses, "_SSH_PORT", taken.getsockname()[1])
        assert choose_network(random.Random(6), "linux").startswith("127.")  # noqa: S311 - repeatable


def test_where_other_loopback_addresses_do_not_exist_one_is_shared(monkeypatch):
    # 198.51.100.0/24 is for documentation: no computer has it, as macOS has no 127.1.2.3
    monkeypatch.setattr(addresses, "_FIRST_OCTET", 198)
    assert choose_network(random.Random(6), "linux") == ""  # noqa: S311 - repeatable


def test_each_machine_has_an_address_and_they_differ(sim_cloud, make_body):
    places = _take(sim_cloud, make_body, "a", "b", "c")
    assert len({host for host, _ in places.values()}) == 3
    assert {port for _, port in places.values()} == {2222}


def test_an_address_is_given_again_only_once_it_is_free(sim_cloud, make_body, sim_clock, at):
    before = _take(sim_cloud, make_body, "a")["a"]
    sim_cloud.delete([at("a")])
    during = _take(sim_cloud, make_body, "b")["b"]
    sim_clock.advance(10)
    after = _take(sim_cloud, make_body, "c")["c"]
    assert during != before
    assert after == before


def test_more_machines_than_hosts_go_on_to_the_next_port(sim_cloud, make_body):
    sim_cloud.set_quota("sim-central1", "CPUS", 10_000)
    names = tuple(f"n{i}" for i in range(300))
    sim_cloud.create("t", make_body(*names, instance_type="sim-cpu-2"))
    places = {(row.host, row.port) for row in sim_cloud.everything()}
    assert len(places) == 300
    assert {port for _, port in places} == {2222, 2223}


def test_a_full_network_is_an_error_of_the_cloud(sim_cloud, make_body, monkeypatch):
    monkeypatch.setattr(addresses, "_PORTS_OWN", range(2222, 2223))
    monkeypatch.setattr(addresses, "_HOSTS", range(2, 4))
    sim_cloud.create("t", make_body("a", "b"))
    with sim_cloud._database.read() as db, pytest.raises(SimError, match="no free address"):
        allocate(db, 1)


def test_a_shared_address_gives_a_port_per_machine(make_cloud, make_body):
    cloud = make_cloud()
    cloud._platform = "darwin"
    places = _take(cloud, make_body, "a", "b")
    assert {host for host, _ in places.values()} == {"127.0.0.1"}
    assert len({port for _, port in places.values()}) == 2


@pytest.mark.parametrize("port", [2222, 8999, 22220, 31999])
def test_candidate_ports_lie_below_those_of_clients(port):
    ports = candidate_ports(port)
    assert ports[0] == port
    assert len(set(ports)) == len(ports) > 1
    assert all(1024 < candidate < _FIRST_CLIENT_PORT for candidate in ports)
