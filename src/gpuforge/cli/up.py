"""``gpuforge up``: rent the machines of a task and make them ready."""

from __future__ import annotations

from typing import Any

import click

from gpuforge.cli.clusterview import cluster_data, show_up
from gpuforge.cli.options import json_option, new_cluster_option, task_options, yes_option
from gpuforge.cli.output import output
from gpuforge.cli.rent import rent
from gpuforge.cli.tasks import read_task

__all__ = ["command"]


@click.command("up", epilog="Example:  gpuforge up --gpus L4:1 -c sandbox --yes")
@click.argument("file", required=False)
@new_cluster_option
@task_options
@yes_option
@json_option
def command(file: str | None, cluster_name: str | None, *, yes: bool, **flags: Any) -> None:
    """Rent machines; a live cluster of that name that fits is reused."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    forge = Forge(provider=flags.pop("provider"), progress=output.step)
    task = read_task(forge, file, **flags)
    cluster, _ = rent(forge, task, cluster_name or task.cluster_name(), yes=yes)
    if output.as_json:
        output.data(cluster_data(cluster.record, forge))
    else:
        show_up(cluster)
