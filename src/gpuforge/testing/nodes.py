"""Nodes on this computer: real agents and jobs, in folders that play the homes of a cluster's machines."""

from __future__ import annotations

import os
import shlex
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from gpuforge.models.cluster import Cluster, ClusterState, Node
from gpuforge.models.image import Image
from gpuforge.models.instance import InstanceRef
from gpuforge.models.offering import Offering
from gpuforge.models.resources import CapacityType
from gpuforge.node.client import NodeClient
from gpuforge.testing.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["eventually", "local_cluster", "local_nodes"]

_Value = TypeVar("_Value")

# under coverage the agent runs as the installed module, in the place of the pushed one
_MEASURED = """\
import sys
from gpuforge.node.remote import agent
agent.run(sys.argv.pop(1))
"""


def local_nodes(base: Path, count: int, *, environ: Mapping[str, str] | None = None) -> list[NodeClient]:
    """A client per node; ``base/node<rank>`` is its home. Nothing runs before a client is used."""
    return [
        NodeClient(LocalTransport(base / f"node{rank}", environ=_environ(base, environ or {})), rank=rank)
        for rank in range(count)
    ]


def local_cluster(count: int, *, network: str = "127.0.91", ranks_per_node: int = 1) -> Cluster:
    """A ready cluster whose nodes have addresses of their own in ``network`` (three numbers)."""
    now = datetime.now(UTC)
    nodes = tuple(
        Node(
            rank=rank,
            ref=InstanceRef(provider="fake", region="sim-central1", zone="sim-central1-a", name=f"n{rank}"),
            address=f"{network}.{rank + 1}",
        )
        for rank in range(count)
    )
    return Cluster(
        name="local",
        uuid="00000000-0000-4000-8000-000000000000",
        owner="tester",
        attempt=1,
        state=ClusterState.READY,
        nodes=nodes,
        offering=_offering(),
        image=_image(now),
        disk_gib=50,
        labels={},
        created=now,
        deadline=now + timedelta(hours=1),
        usd_per_hour=Decimal(0),
        reserved_usd=None,
        autostop_minutes=None,
        ranks_per_node=ranks_per_node,
        simulated=True,
    )


def eventually(probe: Callable[[], _Value], *, seconds: float = 20) -> _Value:
    """The first true value of ``probe``; fails the test when none comes in time."""
    give_up = time.monotonic() + seconds
    while not (value := probe()):
        assert time.monotonic() < give_up, f"nothing came of {probe} within {seconds} s"
        time.sleep(0.02)
    return value


def _environ(base: Path, extra: Mapping[str, str]) -> dict[str, str]:
    shims = base / "bin"
    shims.mkdir(parents=True, exist_ok=True)
    shim = shims / "python3"
    names = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START", "COVERAGE_FILE")
    measured = {name: os.environ[name] for name in names if name in os.environ}
    python = shlex.quote(sys.executable)
    plain = f'exec {python} "$@"\n'
    called = '[ "$3" = -c ] && [ -n "$6" ] && [ -e "$5/gpuforge_node/agent.py" ]'
    agent = f'{called} && exec {python} -c {shlex.quote(_MEASURED)} "$5" "$6"\n'
    shim.write_text("#!/bin/bash\n" + (agent if measured else "") + plain)
    shim.chmod(0o755)
    return {"PATH": f"{shims}:{os.environ['PATH']}", **measured, **extra}


def _image(now: datetime) -> Image:
    return Image(
        provider="fake",
        id="sim-plain",
        family="sim-plain",
        framework="",
        cuda="",
        driver="",
        os="linux",
        arch="x86_64",
        created=now.date(),
    )


def _offering() -> Offering:
    return Offering(
        provider="fake",
        region="sim-central1",
        zone="sim-central1-a",
        instance_type="sim-cpu",
        accelerator=None,
        vcpus=2,
        memory_gib=Decimal(4),
        capacity_type=CapacityType.ON_DEMAND,
        price=None,
        disk_usd_per_gib_month=None,
    )
