"""``gpuforge gpus``: GPUs, the instance types that carry them, and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.options import json_option
from gpuforge.cli.output import output
from gpuforge.models.money import format_usd

if TYPE_CHECKING:
    from decimal import Decimal

    from gpuforge.catalog.summary import GpuRow

__all__ = ["command"]


@click.command("gpus", epilog="Example:  gpuforge gpus A100 --provider gcp")
@click.argument("text", required=False, default="")
@click.option("--provider", metavar="NAME", help="Only this provider's table.")
@json_option
def command(text: str, provider: str | None) -> None:
    """List GPUs with their machines and prices; TEXT filters by GPU, instance type or region."""
    from gpuforge.catalog.summary import summarise  # noqa: PLC0415 - start-up cost
    from gpuforge.forge import Forge  # noqa: PLC0415

    rows = summarise(Forge().offerings(provider), text)
    if output.as_json:
        output.data([_data(row) for row in rows])
        return
    headers = (
        "GPU", "MEMORY", "INSTANCE TYPE", "COUNT", "PROVIDER", "REGIONS", "ON DEMAND", "SPOT", "CHEAPEST",
    )  # fmt: skip
    output.table(headers, [_cells(row) for row in rows])
    dates = sorted({str(row.as_of) for row in rows if row.as_of})
    output.line(f"prices of {' and '.join(dates)}; they move")


def _cells(row: GpuRow) -> tuple[str, ...]:
    return (
        row.gpu,
        f"{row.memory_gib} GB" if row.memory_gib else "unknown",
        row.instance_type,
        str(row.count),
        row.provider,
        str(len(row.regions)),
        _price(row.on_demand_usd_hr, row.on_demand_note),
        _price(row.spot_usd_hr, row.spot_note),
        row.cheapest or "–",
    )


def _price(usd: Decimal | None, note: str) -> str:
    if usd is None:
        return "–" if note else "unknown"
    return f"{format_usd(usd)}/h"


def _note(usd: Decimal | None, note: str) -> str:
    """Why there is no price: never an empty reason beside an unknown."""
    return note or ("" if usd is not None else "price unknown")


def _data(row: GpuRow) -> dict[str, Any]:
    return {
        "provider": row.provider,
        "gpu": row.gpu,
        "memory_gib": row.memory_gib,
        "count": row.count,
        "instance_type": row.instance_type,
        "vcpus": row.vcpus,
        "regions": list(row.regions),
        "cheapest": row.cheapest,
        "on_demand_usd_per_hour": None if row.on_demand_usd_hr is None else str(row.on_demand_usd_hr),
        "on_demand_note": _note(row.on_demand_usd_hr, row.on_demand_note),
        "spot_usd_per_hour": None if row.spot_usd_hr is None else str(row.spot_usd_hr),
        "spot_note": _note(row.spot_usd_hr, row.spot_note),
        "as_of": None if row.as_of is None else row.as_of.isoformat(),
    }
