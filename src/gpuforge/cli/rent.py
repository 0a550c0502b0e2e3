"""Renting with consent: the live cluster where it fits, else the plan, the question, and the machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.cli.options import confirm
from gpuforge.cli.output import output
from gpuforge.cli.planview import show_plan
from gpuforge.models.progress import Step

if TYPE_CHECKING:
    from gpuforge.forge import Cluster, Forge
    from gpuforge.spec.task import Task

__all__ = ["rent"]


def rent(forge: Forge, task: Task, name: str, *, yes: bool) -> tuple[Cluster, bool]:
    """A ready cluster, and whether it was up before; nothing new is rented without being agreed to.

    Raises:
        DeclinedError: The answer was no, or nobody could be asked.
    """
    live = forge.reuse(task, name=name)
    if live is not None:
        output.step(Step(key="cluster", text=f"{name} is up and fits; reused", done=True))
        return live, True
    plan = forge.plan(task, name=name)
    if not output.as_json or not yes:
        show_plan(plan, task)
    confirm("Rent it?", yes=yes)
    return forge.up(task, name=name, plan=plan), False
