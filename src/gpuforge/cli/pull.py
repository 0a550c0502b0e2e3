"""``gpuforge pull``: bring files back; a local file that changed since is kept."""

from __future__ import annotations

from pathlib import Path

import click

from gpuforge.cli.options import cluster_option, json_option
from gpuforge.cli.output import output
from gpuforge.cli.reports import report_data, show_report
from gpuforge.errors import NotFoundError

__all__ = ["command"]


@click.command("pull", epilog="Example:  gpuforge pull runs -c train-resnet")
@click.argument("patterns", nargs=-1, required=True)
@cluster_option
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), metavar="DIR",
              help="Local folder; this one when left out.")  # fmt: skip
@json_option
def command(patterns: tuple[str, ...], cluster_name: str | None, into: Path) -> None:
    """Copy paths or globs of the head's workdir here."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    cluster = Forge(progress=output.step).cluster(cluster_name)
    report = cluster.pull(patterns, into=into.absolute())
    if report.files == 0:
        names = ", ".join(patterns)
        raise NotFoundError(
            f"nothing on {cluster.name} matches {names}",
            resolution=f"gpuforge ssh {cluster.name} -- ls workdir",
        )
    if output.as_json:
        output.data(report_data(report))
    else:
        show_report(report)
