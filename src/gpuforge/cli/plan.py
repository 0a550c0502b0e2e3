"""``gpuforge plan``: what would be rented, at what price, and why not something else."""

from __future__ import annotations

from typing import Any

import click

from gpuforge.cli.options import json_option, new_cluster_option, task_options
from gpuforge.cli.output import output
from gpuforge.cli.planview import show_plan
from gpuforge.cli.tasks import read_task

__all__ = ["command"]


@click.command("plan", epilog="Example:  gpuforge plan --gpus L4:1 --max-duration 2h -v")
@click.argument("file", required=False)
@click.option("-v", "--verbose", is_flag=True, help="Every candidate that was left out, and why.")
@new_cluster_option
@task_options
@json_option
def command(file: str | None, cluster_name: str | None, *, verbose: bool, **flags: Any) -> None:
    """Show what would be rented; costs and changes nothing."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost
    from gpuforge.provision.plan import to_data  # noqa: PLC0415

    forge = Forge(provider=flags.pop("provider"))
    task = read_task(forge, file, **flags)
    plan = forge.plan(task, name=cluster_name)
    if output.as_json:
        output.data(to_data(plan))
    else:
        show_plan(plan, task, verbose=verbose, to_stdout=True)
