"""``gpuforge push``: copy files to every node; only what changed travels."""

from __future__ import annotations

from pathlib import Path

import click

from gpuforge.cli.options import cluster_option, json_option
from gpuforge.cli.output import output
from gpuforge.cli.reports import report_data, show_report

__all__ = ["command"]


@click.command("push", epilog="Example:  gpuforge push ./src workdir/src")
@click.argument("local", type=click.Path(exists=True, path_type=Path))
@click.argument("remote", required=False)
@cluster_option
@json_option
def command(local: Path, remote: str | None, cluster_name: str | None) -> None:
    """Copy LOCAL to REMOTE (below the machine's home) on every node.

    Without REMOTE a folder becomes the workdir and a file goes into it; a REMOTE that ends in / is a folder
    to put LOCAL into.
    """
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    cluster = Forge(progress=output.step).cluster(cluster_name)
    reports = cluster.push_path(local, _target(local, remote))
    if output.as_json:
        output.data([report_data(report) for report in reports])
    else:
        for report in reports:
            show_report(report)


def _target(local: Path, remote: str | None) -> str:
    name = local.absolute().name
    if remote is None:
        return "workdir" if local.is_dir() else f"workdir/{name}"
    return f"{remote}{name}" if remote.endswith("/") else remote
