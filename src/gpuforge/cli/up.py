"""``gpuforge up``: rent the machines of a task and make them ready."""

from __future__ import annotations

from typing import Any

import click

from gpuforge.cli.clusterview import cluster_data, show_up
from gpuforge.cli.options import confirm, json_option, task_options, yes_option
from gpuforge.cli.output import output
from gpuforge.cli.planview import show_plan
from gpuforge.cli.tasks import read_task

__all__ = ["command"]


@click.command("up", epilog="Example:  gpuforge up --gpus L4:1 -c sandbox --yes")
@click.argument("file", required=False)
@click.option("-c", "--cluster", "cluster_name", metavar="NAME", help="The cluster's name.")
@task_options
@yes_option
@json_option
def command(file: str | None, cluster_name: str | None, *, yes: bool, **flags: Any) -> None:
    """Rent machines; a live cluster of that name that fits is reused."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    forge = Forge(provider=flags.pop("provider"), progress=output.step)
    task = read_task(forge, file, required=False, **flags)
    name = cluster_name or task.cluster_name()
    plan = None
    if not forge.is_up(name):
        plan = forge.plan(task, name=name)
        show_plan(plan, task)
        confirm("Rent it?", yes=yes)
    cluster = forge.up(task, name=name, plan=plan)
    if output.as_json:
        output.data(cluster_data(cluster.record, forge))
    else:
        show_up(cluster)
