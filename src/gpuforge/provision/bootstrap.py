"""From a ready cluster to working nodes: connections with pinned keys, node clients, watchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gpuforge.errors import StateError
from gpuforge.transport.base import Endpoint
from gpuforge.transport.fanout import each

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpuforge.models.cluster import Cluster, Node
    from gpuforge.node.client import NodeClient, WatcherConfig
    from gpuforge.provision.context import Context
    from gpuforge.state.paths import Paths
    from gpuforge.transport.base import Transport

__all__ = ["Engine", "connect", "ensure_watchers", "login", "node_clients", "node_endpoint"]

Engine = Literal["auto", "openssh", "paramiko"]


def node_endpoint(node: Node, folder: Path) -> Endpoint:
    """Everything needed to reach ``node`` and know that it is the right one.

    Raises:
        StateError: The node was never ready.
    """
    if node.route is None or node.host_key is None or node.ref.instance_id is None:
        raise StateError(
            f"{node.ref.name} has no address or host key yet",
            details="its cluster was never ready",
            resolution="gpuforge gc  finishes or removes it",
        )
    return Endpoint(
        name=node.ref.name, alias=node.alias, route=node.route, host_key=node.host_key, folder=folder
    )


def connect(
    cluster: Cluster, node: Node, paths: Paths, *, engine: Engine = "auto", timeout_seconds: float = 10
) -> Transport:
    """A verified connection to one node.

    Raises:
        HostKeyError, AuthError, ConnectError: As the transport says.
    """
    from gpuforge.transport import ssh  # noqa: PLC0415 - start-up cost

    endpoint = node_endpoint(node, paths.cluster(cluster.name))
    return ssh.connect(endpoint, control_dir=paths.sockets, engine=engine, timeout_seconds=timeout_seconds)


def node_clients(cluster: Cluster, paths: Paths, *, engine: Engine = "auto") -> list[NodeClient]:
    """A client per node, in rank order, connected side by side."""
    from gpuforge.node.client import NodeClient  # noqa: PLC0415 - start-up cost

    return each(
        cluster.nodes,
        lambda node: NodeClient(connect(cluster, node, paths, engine=engine), rank=node.rank),
    )


def ensure_watchers(context: Context, cluster: Cluster, *, clients: Sequence[NodeClient] = ()) -> None:
    """Start the watcher of every node, or find that it runs; it outlives the connection.

    Args:
        context: For the heartbeat, and for connections where no client is handed in.
        cluster: Ready.
        clients: Clients in rank order that are connected already.

    Raises:
        TransportError: A node could not be reached, or the agent failed on it.
    """
    nodes = clients or node_clients(cluster, context.paths, engine=context.engine)
    each(
        list(zip(cluster.nodes, nodes, strict=True)),
        lambda pair: pair[1].start_watcher(_watcher_config(context, cluster, pair[0])),
    )


def _watcher_config(context: Context, cluster: Cluster, node: Node) -> WatcherConfig:
    from gpuforge.node.client import WatcherConfig  # noqa: PLC0415 - start-up cost

    return WatcherConfig(
        deadline=cluster.deadline,
        autostop_minutes=cluster.autostop_minutes,
        self_delete=node.self_delete,
        notice=node.notice,
        heartbeat_seconds=context.heartbeat_seconds,
    )


def login(context: Context, endpoint: Endpoint) -> None:
    """Log in once and run nothing of consequence.

    Raises:
        HostKeyError, AuthError, ConnectError: As the transport says.
    """
    from gpuforge.transport import ssh  # noqa: PLC0415 - start-up cost

    transport = ssh.connect(endpoint, control_dir=context.paths.sockets, engine=context.engine)
    try:
        transport.run(["true"], timeout_seconds=20)
    finally:
        transport.close()
