"""How clusters look: the rows of ``status`` and the lines after ``up`` and ``run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuforge.cli.output import output
from gpuforge.cli.words import clock_time, span
from gpuforge.models.clock import rfc3339
from gpuforge.models.money import format_usd

if TYPE_CHECKING:
    from gpuforge.cost.ledger import Spent
    from gpuforge.forge import Cluster, Forge
    from gpuforge.models.cluster import Cluster as ClusterRecord

__all__ = ["cluster_data", "money", "show_cost", "show_still_up", "show_up"]


def money(spent: Spent) -> str:
    """``$0.004``, and that it is simulated where it is."""
    return f"{format_usd(spent.usd)} (simulated)" if spent.simulated else format_usd(spent.usd)


def cluster_data(record: ClusterRecord, forge: Forge) -> dict[str, Any]:
    """A cluster as a document."""
    spent = forge.spent(record)
    return {
        "name": record.name,
        "uuid": record.uuid,
        "state": str(record.state),
        "provider": record.offering.provider,
        "region": record.offering.region,
        "zone": record.offering.zone,
        "instance_type": record.offering.instance_type,
        "accelerator": str(record.offering.accelerator) if record.offering.accelerator else None,
        "capacity_type": str(record.offering.capacity_type),
        "nodes": [
            {"rank": n.rank, "name": n.ref.name, "instance_id": n.ref.instance_id, "address": n.address}
            for n in record.nodes
        ],
        "created": rfc3339(record.created),
        "deadline": rfc3339(record.deadline),
        "autostop_minutes": record.autostop_minutes,
        "usd_per_hour": None if record.usd_per_hour is None else str(record.usd_per_hour),
        "spent_usd": None if spent.usd is None else str(spent.usd),
        "currency": "USD",
        "simulated": record.simulated,
        "ssh_config": str(forge.paths.cluster(record.name) / "ssh_config"),
    }


def show_up(cluster: Cluster) -> None:
    """After ``up``: what bills, until when, and what to do next."""
    record = cluster.record
    output.line()
    show_still_up(cluster)
    names = " ".join(node.ref.name for node in record.nodes)
    output.line(f"  nodes         {names}")
    output.line(f"  ssh           ssh -F {cluster.folder / 'ssh_config'} {record.head.ref.name}")
    output.line(
        f"  next          gpuforge run -c {record.name} -- nvidia-smi · gpuforge ssh {record.name}"
        f" · gpuforge down {record.name}"
    )


def show_still_up(cluster: Cluster) -> None:
    """The line that nobody may miss: it is up, it costs, it ends then."""
    record = cluster.record
    idle = f", or after {record.autostop_minutes} idle minutes" if record.autostop_minutes else ""
    price = f", {format_usd(record.usd_per_hour)}/h" + (" (simulated)" if record.simulated else "")
    output.line(f"  still up      {record.name} until {clock_time(record.deadline)}{idle}{price}")


def show_cost(spent: Spent) -> None:
    """What it cost, and for how long."""
    output.line(f"  cost          {money(spent)} for {span(spent.until - spent.since)}")
