"""The torchrun launcher's environment: a bare ``torchrun train.py`` works on one node and on several."""

from __future__ import annotations

import pytest

from gpuforge.errors import SpecError
from gpuforge.jobs.launchers import LAUNCHERS, wire
from gpuforge.jobs.launchers.plain import Gang
from gpuforge.jobs.launchers.torchrun import environment


def test_several_nodes_get_the_static_rendezvous():
    gang = Gang(addresses=("10.0.0.2", "10.0.0.3"), ranks_per_node=8)

    env, ports = environment(gang, 1)

    assert env == {
        "MASTER_ADDR": "10.0.0.2",
        "NNODES": "2",
        "NODE_RANK": "1",
        "PET_NNODES": "2",
        "PET_NODE_RANK": "1",
        "PET_NPROC_PER_NODE": "8",
        "PET_MASTER_ADDR": "10.0.0.2",
    }
    assert ports == ("MASTER_PORT", "PET_MASTER_PORT")


def test_one_node_without_gpus_gets_one_process_and_a_port_of_its_own():
    env, ports = environment(Gang(addresses=("127.0.4.1",), ranks_per_node=0), 0)

    assert env == {
        "PET_NNODES": "1",
        "PET_NODE_RANK": "0",
        "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": "127.0.4.1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    assert ports == ("PET_MASTER_PORT",)


@pytest.mark.parametrize("launcher", sorted(LAUNCHERS))
@pytest.mark.parametrize("size", [1, 2, 5])
def test_no_launcher_sets_what_makes_a_script_think_it_is_a_rank(launcher, size):
    gang = Gang(addresses=tuple(f"10.0.0.{n}" for n in range(size)), ranks_per_node=4)

    for rank in range(size):
        wiring = wire(launcher, gang, rank)
        assert {*wiring.env, *wiring.port_variables}.isdisjoint({"RANK", "LOCAL_RANK", "WORLD_SIZE"})


def test_an_unknown_launcher_names_those_there_are():
    with pytest.raises(SpecError) as caught:
        wire("mpi", Gang(addresses=("10.0.0.2",), ranks_per_node=1), 0)

    assert "plain, torchrun" in caught.value.resolution
