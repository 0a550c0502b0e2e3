"""``gpuforge gc``: finish what an interrupted command began; report unknown machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.options import confirm, json_option, yes_option
from gpuforge.cli.output import output
from gpuforge.cli.words import clock_time
from gpuforge.errors import CleanupError
from gpuforge.models.clock import rfc3339

if TYPE_CHECKING:
    from gpuforge.provision.reconcile import GcReport
    from gpuforge.provision.sweep import Stray

__all__ = ["command"]


@click.command("gc", epilog="Example:  gpuforge gc --delete 7204883561 --yes")
@click.option("--delete", "delete_ids", multiple=True, metavar="ID", help="Also delete this unknown machine.")
@click.option("--provider", metavar="NAME", help="Only this provider.")
@yes_option
@json_option
def command(delete_ids: tuple[str, ...], provider: str | None, *, yes: bool) -> None:
    """Re-drive open intents, then compare the cloud with the journal."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    forge = Forge(provider=provider, progress=output.step)
    if delete_ids:
        confirm(f"delete {', '.join(delete_ids)} with their disks?", yes=yes, default=False)
    report = forge.gc(provider=provider, delete_ids=delete_ids)
    if output.as_json:
        output.data(_data(report))
    else:
        _show(report)
    if report.leftovers:
        raise CleanupError(
            "something may still cost money",
            leftovers=report.leftovers,
            resolution="gpuforge gc --yes      again, once the cause is gone",
        )


def _show(report: GcReport) -> None:
    for done in report.finished:
        output.result(f"{done.cluster}: {done.outcome}")
    for name in report.busy:
        output.result(f"{name}: another command is at work on it; left alone")
    for stray in report.strays:
        ref = stray.instance.ref
        ends = "no deadline" if stray.deadline is None else f"ends {clock_time(stray.deadline)}"
        output.result(f"unknown machine {ref.name} ({ref.instance_id}) in {ref.zone}, {ends}: {_why(stray)}")
    for disk in report.disks:
        output.result(f"disk {disk.name} ({disk.size_gib} GB) in {disk.zone} stands alone")
    for unknown in report.unknown_ids:
        output.result(f"no unknown machine has the id {unknown}")
    for warning in report.warnings:
        output.warn(warning)
    if not (report.finished or report.busy or report.strays or report.disks):
        output.result("nothing to do: the journal and the cloud agree")
    if not report.complete:
        output.warn("a part of the cloud did not answer: this list is incomplete")


def _why(stray: Stray) -> str:
    if stray.is_deleted:
        return "deleted"
    if stray.is_ours:
        return "made by this journal, which has lost its record"
    return "made by another journal of this owner; give it back from there, or  gpuforge gc --delete ID"


def _data(report: GcReport) -> dict[str, Any]:
    return {
        "finished": [{"cluster": done.cluster, "outcome": done.outcome} for done in report.finished],
        "busy": list(report.busy),
        "unknown_machines": [
            {
                "name": stray.instance.ref.name,
                "instance_id": stray.instance.ref.instance_id,
                "zone": stray.instance.ref.zone,
                "deadline": None if stray.deadline is None else rfc3339(stray.deadline),
                "reason": _why(stray),
                "deleted": stray.is_deleted,
            }
            for stray in report.strays
        ],
        "disks": [{"name": disk.name, "zone": disk.zone, "size_gib": disk.size_gib} for disk in report.disks],
        "unknown_ids": list(report.unknown_ids),
        "complete": report.complete,
        "warnings": list(report.warnings),
    }
