"""How clusters look: the rows of ``status`` and the lines after ``up`` and ``run``."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from gpuforge.cli.layout import labelled
from gpuforge.cli.output import output
from gpuforge.cli.words import clock_time, span
from gpuforge.models.clock import rfc3339
from gpuforge.models.money import format_usd

if TYPE_CHECKING:
    from gpuforge.cost.ledger import Spent
    from gpuforge.forge import Cluster, Forge
    from gpuforge.models.cluster import Cluster as ClusterRecord

__all__ = [
    "cluster_data",
    "money",
    "selector",
    "show_cost",
    "show_next",
    "show_still_up",
    "show_up",
    "usd_text",
]

_MILLIONTH = Decimal("0.000001")


def money(spent: Spent) -> str:
    """``$0.004``, and that it is simulated where it is."""
    return f"{format_usd(spent.usd)} (simulated)" if spent.simulated else format_usd(spent.usd)


def usd_text(amount: Decimal | None) -> str | None:
    """Money in a document: decimal text to the millionth, ``None`` where it is unknown."""
    return None if amount is None else str(amount.quantize(_MILLIONTH, rounding=ROUND_CEILING))


def cluster_data(record: ClusterRecord, forge: Forge) -> dict[str, Any]:
    """A cluster as a document."""
    spent = forge.spent(record)
    seen = forge.seen.get(record.uuid)
    states = {x.ref.name: str(x.state) for x in seen.instances if x is not None} if seen else {}
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
            {
                "rank": n.rank,
                "name": n.ref.name,
                "instance_id": n.ref.instance_id,
                "address": n.address,
                "instance_state": states.get(n.ref.name),
            }
            for n in record.nodes
        ],
        "created": rfc3339(record.created),
        "deadline": rfc3339(record.deadline),
        "autostop_minutes": record.autostop_minutes,
        "usd_per_hour": usd_text(record.usd_per_hour),
        "spent_usd": usd_text(spent.usd),
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
    name = record.name
    show_next(f"gpuforge run -c {name} -- nvidia-smi", f"gpuforge ssh {name}", f"gpuforge down {name}")


def show_next(*commands: str) -> None:
    """What a person would do now."""
    output.lines(labelled("next", commands, output.width()))


def selector(cluster: Cluster) -> str:
    """`` -c NAME`` where a command without it would not know which cluster is meant."""
    return "" if len(cluster.forge.clusters(refresh=False)) == 1 else f" -c {cluster.name}"


def show_still_up(cluster: Cluster) -> None:
    """The line that nobody may miss: it is up, it costs, it ends then."""
    record = cluster.record
    idle = f", or after {record.autostop_minutes} idle minutes" if record.autostop_minutes else ""
    price = f", {format_usd(record.usd_per_hour)}/h" + (" (simulated)" if record.simulated else "")
    told = f"{record.name} until {clock_time(record.deadline)}{idle}{price}"
    output.lines(labelled("still up", told.split(", "), output.width(), joint=", "))


def show_cost(spent: Spent, *, so_far: bool = False) -> None:
    """What it cost, and for how long."""
    yet = " so far" if so_far else ""
    output.line(f"  cost          {money(spent)} for {span(spent.until - spent.since)}{yet}")
