"""``gpuforge fake …``: look at the simulated cloud and steer it; an entry point of ``gpuforge.cli``.

Nothing but click is imported until a verb runs.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gpuforge.simcloud.cloud import SimCloud
    from gpuforge.simcloud.instances import InstanceRow
    from gpuforge.simcloud.quota import QuotaUse

__all__ = ["fake"]

_SCHEMA = "gpuforge/1"
_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")


def _example(*lines: str) -> str:
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


@click.group()
def fake() -> None:
    """Look at the simulated cloud and steer it: nothing here is billed."""


@fake.command(epilog=_example("gpuforge fake status", "gpuforge fake status --json | jq .data.instances"))
@_json
def status(*, as_json: bool) -> None:
    """Show instances, stock-outs, quotas in use and armed faults."""
    cloud = _cloud()
    if as_json:
        _document(_status_data(cloud))
    else:
        _print_status(cloud)


@fake.command(
    epilog=_example(
        "gpuforge fake stockout A100 --zone sim-central1-a",
        "gpuforge fake stockout L4 --minutes 2 --capacity spot",
        "gpuforge fake stockout --clear",
    )
)
@click.argument("what", required=False)
@click.option("--zone", metavar="ZONE", help="Only there; everywhere when left out.")
@click.option("--minutes", type=click.FloatRange(min=0), default=10.0, show_default=True)
@click.option("--capacity", type=click.Choice(["on_demand", "spot"]), help="Only this kind.")
@click.option("--clear", is_flag=True, help="Everything is in stock again.")
@_json
def stockout(
    what: str | None, zone: str | None, minutes: float, capacity: str | None, *, clear: bool, as_json: bool
) -> None:
    """Take WHAT, a GPU or an instance type, out of stock for a while."""
    if clear == (what is not None):
        raise click.UsageError("name a GPU or an instance type, or use --clear")
    cloud = _cloud()
    if what is None:
        count = cloud.clear_stockouts()
        _answer({"cleared": count}, f"in stock again: {count} stock-outs ended", as_json=as_json)
        return
    subject = _canonical(what)
    made = _mapped(partial(cloud.stockout, subject, zone=zone, minutes=minutes, capacity_type=capacity))
    zones = sorted({x.zone for x in made})
    types = sorted({x.instance_type for x in made})
    until = made[0].until
    _answer(
        {"instance_types": types, "zones": zones, "until": _time(until)},
        f"out of stock until {_clock(until)}: {', '.join(types)} in {', '.join(zones)}",
        as_json=as_json,
    )


@fake.command(
    epilog=_example(
        "gpuforge fake preempt train-resnet", "gpuforge fake preempt gf-k3v9q2mx7a-1-1 --notice 0"
    )
)
@click.argument("name")
@click.option(
    "--notice",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="From the notice to the soft power-off.",
)
@_json
def preempt(name: str, notice: float, *, as_json: bool) -> None:
    """Take a spot instance back; NAME is an instance, its id, or a cluster (all its nodes)."""
    cloud = _cloud()
    rows = _chosen(cloud, name)
    for row in rows:
        _mapped(partial(cloud.preempt, row.id, notice_seconds=notice))
    _answer(
        {"preempted": [row.name for row in rows], "notice_seconds": notice},
        f"preempted: {', '.join(row.name for row in rows)} (power-off in {notice:g} s)",
        as_json=as_json,
    )


@fake.command(epilog=_example("gpuforge fake reboot train-resnet"))
@click.argument("name")
@_json
def reboot(name: str, *, as_json: bool) -> None:
    """Reboot an instance: its processes end, its files stay; NAME as in preempt."""
    cloud = _cloud()
    rows = _chosen(cloud, name)
    for row in rows:
        _mapped(partial(cloud.reboot, row.id))
    _answer(
        {"rebooting": [row.name for row in rows]},
        f"rebooting: {', '.join(row.name for row in rows)}",
        as_json=as_json,
    )


@fake.command(epilog=_example("gpuforge fake quota", "gpuforge fake quota H100 8 --region sim-central1"))
@click.argument("metric", required=False)
@click.argument("units", type=click.IntRange(min=0), required=False)
@click.option("--region", metavar="REGION", help="Only there; every region when left out.")
@_json
def quota(metric: str | None, units: int | None, region: str | None, *, as_json: bool) -> None:
    """Show quotas, or set how many of METRIC (a GPU, or CPUS) may be had."""
    if (metric is None) != (units is None):
        raise click.UsageError("name a GPU (or CPUS) and a number, or neither")
    cloud = _cloud()
    subject = metric and (metric if metric == "CPUS" else _canonical(metric))
    if subject is not None and units is not None:
        for place in (region,) if region else cloud.profile.regions():
            _mapped(partial(cloud.set_quota, place, subject, units))
    rows = [x for x in cloud.quotas() if region in {None, x.region} and subject in {None, x.metric}]
    if as_json:
        _document([{"region": x.region, "metric": x.metric, "limit": x.limit, "used": x.used} for x in rows])
        return
    _table(
        ("REGION", "WHAT", "LIMIT", "IN USE"),
        [(x.region, x.metric, str(x.limit), str(x.used)) for x in rows],
    )


@fake.command(epilog=_example("gpuforge fake reset --yes"))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_json
def reset(*, yes: bool, as_json: bool) -> None:
    """Kill every simulated machine and start with an empty cloud."""
    from gpuforge.errors import DeclinedError  # noqa: PLC0415 - start-up cost

    cloud = _cloud()
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise DeclinedError(
                "nothing was reset: there is nobody to ask", resolution="gpuforge fake reset --yes"
            )
        click.confirm(f"Kill every machine of {cloud.folder} and remove all its files?", abort=True)
    count = cloud.reset()
    _answer({"ended": count}, f"the simulated cloud is empty: {count} instances ended", as_json=as_json)


# ── within ─────────────────────────────────────────────────────────────────────────────────────────────


def _status_data(cloud: SimCloud) -> dict[str, Any]:
    return {
        "folder": str(cloud.folder),
        "instances": [_instance(row) for row in _mapped(cloud.everything)],
        "stockouts": [
            {
                "zone": out.zone,
                "instance_type": out.instance_type,
                "capacity_type": out.capacity_type,
                "until": _time(out.until),
            }
            for out in cloud.stockouts()
        ],
        "quotas": [_quota(use) for use in cloud.quotas() if use.used],
        "faults": [
            {"call": fault.call, "fate": fault.fate, "argument": fault.argument, "times": fault.times}
            for fault in cloud.faults.armed()
        ],
    }


def _print_status(cloud: SimCloud) -> None:
    rows = _mapped(cloud.everything)
    if rows:
        _table(
            ("INSTANCE", "ZONE", "TYPE", "STATE", "ADDRESS", "ENDS", "WHY"),
            [
                (
                    r.name,
                    r.zone,
                    r.instance_type,
                    r.status,
                    f"{r.host}:{r.port}",
                    _clock(r.deadline),
                    r.reason,
                )
                for r in rows
            ],
        )
    else:
        click.echo("no instances")
    for out in cloud.stockouts():
        until = _clock(out.until)
        click.echo(f"out of stock   {out.instance_type} {out.capacity_type} in {out.zone} until {until}")
    for use in cloud.quotas():
        if use.used:
            click.echo(f"quota          {use.metric} in {use.region}: {use.used} of {use.limit}")
    for fault in cloud.faults.armed():
        click.echo(f"fault armed    {fault.call}: {fault.fate} {fault.argument} × {fault.times}")


def _cloud() -> SimCloud:
    import os  # noqa: PLC0415 - start-up cost

    from gpuforge.models.clock import SystemClock  # noqa: PLC0415
    from gpuforge.simcloud.cloud import SimCloud  # noqa: PLC0415
    from gpuforge.simcloud.settings import SimSettings  # noqa: PLC0415
    from gpuforge.state.paths import Paths  # noqa: PLC0415

    folder = Paths.from_environment(os.environ).simcloud
    return SimCloud(folder, SystemClock(), settings=SimSettings.from_environment(os.environ))


def _mapped(call: Callable[[], Any]) -> Any:
    from gpuforge.providers.fake.convert import errors_mapped  # noqa: PLC0415 - start-up cost

    with errors_mapped():
        return call()


def _canonical(text: str) -> str:
    """The canonical name of a GPU; anything else as written (an instance type, or a mistake)."""
    from gpuforge.catalog.accelerators import UnknownAccelerator, lookup  # noqa: PLC0415 - start-up cost

    try:
        return lookup(text).name
    except UnknownAccelerator:
        return text


def _chosen(cloud: SimCloud, name: str) -> list[InstanceRow]:
    from gpuforge.errors import NotFoundError  # noqa: PLC0415 - start-up cost
    from gpuforge.simcloud.profile import suggest  # noqa: PLC0415

    rows: list[InstanceRow] = _mapped(cloud.everything)
    found = [row for row in rows if name in {row.name, row.id}]
    found = found or [row for row in rows if row.labels.get("gf-cluster") == name]
    if not found:
        known = sorted({row.name for row in rows} | {row.labels.get("gf-cluster", row.name) for row in rows})
        raise NotFoundError(
            f"no simulated instance or cluster is called {name}",
            details=suggest(name, known) if known else "there are none",
            resolution="gpuforge fake status",
        )
    return found


def _instance(row: InstanceRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "zone": row.zone,
        "instance_type": row.instance_type,
        "capacity_type": row.capacity_type,
        "state": row.status,
        "reason": row.reason,
        "address": row.host,
        "port": row.port,
        "created": _time(row.created),
        "deadline": _time(row.deadline),
        "labels": dict(row.labels),
    }


def _quota(use: QuotaUse) -> dict[str, Any]:
    return {"region": use.region, "metric": use.metric, "limit": use.limit, "used": use.used}


def _time(seconds: float) -> str:
    from gpuforge.models.clock import rfc3339  # noqa: PLC0415 - start-up cost

    return rfc3339(datetime.fromtimestamp(seconds, UTC))


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%a %H:%M:%S")


def _answer(data: Any, text: str, *, as_json: bool) -> None:
    if as_json:
        _document(data)
    else:
        click.echo(text)


def _document(data: Any) -> None:
    # the envelope of every verb; the CLI's own renderer stands above this layer
    document = {"schema": _SCHEMA, "ok": True, "data": data, "warnings": [], "error": None}
    click.echo(json.dumps(document))


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [tuple(headers), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    for line in lines:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
