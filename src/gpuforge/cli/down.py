"""``gpuforge down``: give machines back; done only when the cloud says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpuforge.cli.clusterview import show_cost, usd_text
from gpuforge.cli.errors import UsageError, report
from gpuforge.cli.options import cluster_argument, confirm, json_option, yes_option
from gpuforge.cli.output import output
from gpuforge.errors import CleanupError, GpuforgeError, Leftover, TransportError

if TYPE_CHECKING:
    from gpuforge.cost.ledger import Spent
    from gpuforge.forge import Forge

__all__ = ["command"]


@click.command("down", epilog="Example:  gpuforge down train-resnet")
@cluster_argument(required=False, many=True)
@click.option("-a", "--all", "everything", is_flag=True, help="Every cluster.")
@yes_option
@json_option
@click.pass_context
def command(context: click.Context, names: tuple[str, ...], *, everything: bool, yes: bool) -> None:
    """Delete clusters with their disks; asks first while a job is running."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    forge = Forge(progress=output.step)
    if everything and names:
        raise UsageError("name clusters, or use --all", resolution="gpuforge down --all")
    if everything:
        names = tuple(cluster.name for cluster in forge.clusters(refresh=False))
    elif not names:
        names = (forge.cluster().name,)
    busy = [told for name in names for told in _busy(forge, name)] if not yes else []
    if busy:
        confirm(f"{', '.join(busy)}: give the machines back all the same?", yes=yes, default=False)
    done, failures = _each(forge, names)
    data = [{"name": s.cluster, "spent_usd": usd_text(s.usd)} for s in done]
    if failures:
        context.exit(report(_all(failures), data=data))
    if output.as_json:
        output.data(data)
    elif not names:
        output.result("no cluster is up")


def _each(forge: Forge, names: tuple[str, ...]) -> tuple[list[Spent], list[GpuforgeError]]:
    done, failures = [], []
    for name in names:
        try:
            done.append(forge.down(name))
            if not output.as_json:
                show_cost(done[-1])
        except GpuforgeError as error:
            failures.append(error)
    return done, failures


def _all(failures: list[GpuforgeError]) -> GpuforgeError:
    if len(failures) == 1:
        return failures[0]
    worst = max(failures, key=lambda error: isinstance(error, CleanupError))
    if not isinstance(worst, CleanupError):
        return type(worst)(
            f"{len(failures)} clusters could not be given back",
            details="\n".join(str(error) for error in failures),
            resolution=worst.resolution,
        )
    leftovers: list[Leftover] = [
        x for error in failures if isinstance(error, CleanupError) for x in error.leftovers
    ]
    brief = f"{len(failures)} clusters could not be given back"
    return CleanupError(brief, leftovers=leftovers, details="\n".join(str(error) for error in failures),
                        resolution="gpuforge gc --yes")  # fmt: skip


def _busy(forge: Forge, name: str) -> list[str]:
    """Live jobs of a cluster; machines that cannot be asked do not hinder their deletion."""
    try:
        jobs = forge.cluster(name).jobs()
    except TransportError as error:
        output.warn(f"{name} could not be asked for running jobs: {error.brief}")
        return []
    return [f"job {job.alias} of {name} is {job.state}" for job in jobs if not job.state.is_final]
