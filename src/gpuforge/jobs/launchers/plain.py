"""The plain launcher: the script itself, on every node; on several, torchrun's own names for the gang."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Gang", "environment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """The nodes of one job, as launchers see them.

    Attributes:
        addresses: In rank order, as the nodes reach each other; the first is the head's.
        ranks_per_node: Processes to start per node.
    """

    addresses: tuple[str, ...]
    ranks_per_node: int

    @property
    def head(self) -> str:
        """The head's address."""
        return self.addresses[0]

    @property
    def size(self) -> int:
        """Nodes."""
        return len(self.addresses)

    @property
    def on_loopback(self) -> bool:
        """All nodes share one computer: gloo must not look for another interface."""
        return self.head.startswith("127.")


def environment(gang: Gang, rank: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """Nothing on one node; ``MASTER_ADDR``, ``MASTER_PORT``, ``NNODES``, ``NODE_RANK`` on several."""
    if gang.size == 1:
        return {}, ()
    env = {"MASTER_ADDR": gang.head, "NNODES": str(gang.size), "NODE_RANK": str(rank)}
    if gang.on_loopback:
        env["GLOO_SOCKET_IFNAME"] = "lo"
    return env, ("MASTER_PORT",)
