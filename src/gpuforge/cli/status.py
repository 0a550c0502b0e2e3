"""``gpuforge status``: clusters, their jobs, what they cost and when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpuforge.cli.clusterview import cluster_data
from gpuforge.cli.options import cluster_argument, json_option
from gpuforge.cli.output import output
from gpuforge.cli.words import until
from gpuforge.errors import TransportError
from gpuforge.models.cluster import ClusterState
from gpuforge.models.money import format_usd

if TYPE_CHECKING:
    from gpuforge.forge import Forge
    from gpuforge.models.cluster import Cluster

__all__ = ["command"]


@click.command("status", epilog="Example:  gpuforge status --json")
@cluster_argument(required=False, many=True)
@click.option("--no-refresh", is_flag=True, help="The journal's answer alone; asks no cloud and no machine.")
@json_option
def command(names: tuple[str, ...], *, no_refresh: bool) -> None:
    """Clusters that may cost money, from the journal and then from their clouds."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost
    from gpuforge.provision.clusters import choose  # noqa: PLC0415

    forge = Forge()
    clusters = forge.clusters(refresh=not no_refresh)
    if names:
        clusters = tuple(choose(clusters, name) for name in names)
    if output.as_json:
        output.data([cluster_data(cluster, forge) for cluster in clusters])
    elif not clusters:
        output.result("no cluster is up")
    else:
        headers = ("CLUSTER", "WHERE", "NODES", "STATE", "JOBS", "SPENT", "ENDS")
        output.table(headers, [_row(forge, cluster, ask=not no_refresh) for cluster in clusters])
        if any(cluster.state is not ClusterState.READY for cluster in clusters):
            output.line("  unfinished: gpuforge gc  finishes what was interrupted")


def _row(forge: Forge, cluster: Cluster, *, ask: bool) -> tuple[str, ...]:
    from gpuforge.provision.clusters import hardware  # noqa: PLC0415
    from gpuforge.provision.health import in_a_word  # noqa: PLC0415

    seen = in_a_word(forge.seen.get(cluster.uuid))
    return (
        cluster.name,
        f"{cluster.offering.provider}/{cluster.offering.zone}",
        hardware(cluster),
        seen if cluster.state is ClusterState.READY else str(cluster.state),
        _jobs(forge, cluster) if ask else "not asked",
        format_usd(forge.spent(cluster).usd),
        until(cluster.deadline, forge.clock.now()),
    )


def _jobs(forge: Forge, cluster: Cluster) -> str:
    if cluster.state is not ClusterState.READY:
        return "–"
    try:
        jobs = forge.cluster(cluster.name).jobs()
    except TransportError as error:
        return error.brief
    if not jobs:
        return "none"
    running = sum(1 for job in jobs if not job.state.is_final)
    done = f"{len(jobs) - running} done"
    return f"{running} running, {done}" if running else done
