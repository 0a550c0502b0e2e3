"""The plain launcher's environment."""

from __future__ import annotations

from gpuforge.jobs.launchers.plain import Gang, environment


def test_one_node_gets_nothing():
    assert environment(Gang(addresses=("10.0.0.2",), ranks_per_node=8), 0) == ({}, ())


def test_several_nodes_get_torchruns_own_names():
    gang = Gang(addresses=("10.0.0.2", "10.0.0.3"), ranks_per_node=8)

    env, ports = environment(gang, 1)

    assert env == {"MASTER_ADDR": "10.0.0.2", "NNODES": "2", "NODE_RANK": "1"}
    assert ports == ("MASTER_PORT",)


def test_on_loopback_gloo_is_told_its_interface():
    env, _ = environment(Gang(addresses=("127.0.4.1", "127.0.4.2"), ranks_per_node=1), 0)

    assert env["GLOO_SOCKET_IFNAME"] == "lo"
