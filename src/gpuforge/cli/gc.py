"""``gpuforge gc``: finish what an interrupted command began; report unknown machines."""

from __future__ import annotations

import click

from gpuforge.cli.options import json_option, yes_option
from gpuforge.cli.output import output

__all__ = ["command"]


@click.command("gc", epilog="Example:  gpuforge gc --delete 7204883561")
@click.option("--delete", "delete_ids", multiple=True, metavar="ID", help="Also delete this unknown machine.")
@click.option("--provider", metavar="NAME", help="Only this provider.")
@yes_option
@json_option
def command(delete_ids: tuple[str, ...], provider: str | None, *, yes: bool) -> None:  # noqa: ARG001 - asks nothing today
    """Re-drive open intents, then compare the cloud with the journal."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    forge = Forge(provider=provider, progress=output.step)
    report = forge.gc(provider=provider, delete_ids=delete_ids)
    if output.as_json:
        output.data(report.to_data())
        return
    for line in report.lines():
        output.result(line)
