"""The torchrun launcher: ``PET_*`` variables, so that a bare ``torchrun train.py`` is the whole gang's.

Static rendezvous on rank 0 with a port of its own per attempt: it fits the gang's restart, and has no trap
on loopback addresses. torchrun reads each of its flags from ``PET_<FLAG>``
(torch/distributed/argparse_util.py, torch 2.13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.jobs.launchers import plain

if TYPE_CHECKING:
    from gpuforge.jobs.launchers.plain import Gang

__all__ = ["environment"]


def environment(gang: Gang, rank: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """The plain launcher's names, and torchrun's flags.

    On one node the port is set too: torchrun's default, 29500, is taken when two jobs share a computer.
    """
    env, ports = plain.environment(gang, rank)
    env |= {
        "PET_NNODES": str(gang.size),
        "PET_NODE_RANK": str(rank),
        "PET_NPROC_PER_NODE": str(max(1, gang.ranks_per_node)),
        "PET_MASTER_ADDR": gang.head,
    }
    if gang.on_loopback:
        env["GLOO_SOCKET_IFNAME"] = "lo"
    return env, (*ports, "PET_MASTER_PORT")
