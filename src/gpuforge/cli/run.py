"""``gpuforge run``: up if needed, copy, run, stream, bring outputs back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.clusterview import cluster_data, show_cost, show_still_up
from gpuforge.cli.follow import exit_code_of, follow, job_data, show_end
from gpuforge.cli.options import confirm, json_option, task_options, yes_option
from gpuforge.cli.output import output
from gpuforge.cli.planview import show_plan
from gpuforge.cli.tasks import is_task_file, read_task
from gpuforge.cli.words import counted
from gpuforge.errors import SpecError
from gpuforge.models.progress import Step

if TYPE_CHECKING:
    from gpuforge.forge import Cluster, Forge, Job
    from gpuforge.models.sync import SyncReport
    from gpuforge.spec.task import Task

__all__ = ["command"]

# flags that describe machines: with one of them, a command rents what it needs
_MACHINE_FLAGS = ("gpus", "infra", "instance_type", "num_nodes", "use_spot", "image", "disk_size")


@click.command(
    "run",
    epilog="Examples:  gpuforge run --down      gpuforge run -c sandbox -- python train.py --epochs 4",
)
@click.argument("words", nargs=-1, metavar="[FILE | COMMAND...]")
@click.option("-c", "--cluster", "cluster_name", metavar="NAME", help="The cluster's name.")
@click.option("--down", is_flag=True, help="Give the machines back afterwards, also when the job fails.")
@click.option("-d", "--detach", is_flag=True, help="Start it and leave; outputs: gpuforge pull.")
@click.option("--no-setup", is_flag=True, help="Skip the task's setup.")
@task_options
@yes_option
@json_option
@click.pass_context
def command(
    context: click.Context, /, words: tuple[str, ...], cluster_name: str | None, *, yes: bool, **flags: Any
) -> None:
    """Run a task file (gpuforge.yaml of this folder), or a COMMAND on a live cluster.

    The task file's machines are rented if they are not up; its folder is copied, its outputs come back.
    A command alone copies nothing and skips setup. The job's exit code is this command's.
    """
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    forge = Forge(provider=flags.pop("provider"), progress=output.step)
    down, detach, no_setup = (flags.pop(name) for name in ("down", "detach", "no_setup"))
    if down and detach:
        raise SpecError("--down and --detach exclude each other", resolution="leave one of them out")
    file = words[0] if words and is_task_file(words[0]) else None
    asks = any(flags.get(name) for name in _MACHINE_FLAGS)
    task = read_task(forge, file, command=words[1:] if file else words, **flags)
    if words and not file:
        cluster = _for_command(forge, task, cluster_name, asks=asks, yes=yes)
        job = cluster.start(task, setup=False)
    else:
        cluster = _rent(forge, task, cluster_name or task.cluster_name(), yes=yes)
        _copied(cluster.push(task))
        job = cluster.start(task, setup=not no_setup)
    if detach:
        _left_running(cluster, job)
        return
    try:
        code = _see_through(cluster, job, task, show=not words or file is not None)
    finally:
        if down:
            show_cost(cluster.down())
    context.exit(code)


def _rent(forge: Forge, task: Task, name: str, *, yes: bool) -> Cluster:
    plan = None
    if not forge.is_up(name):
        plan = forge.plan(task, name=name)
        show_plan(plan, task)
        confirm("Rent it?", yes=yes)
    return forge.up(task, name=name, plan=plan)


def _for_command(forge: Forge, task: Task, name: str | None, *, asks: bool, yes: bool) -> Cluster:
    """The live cluster that is meant; one is rented when the flags say what."""
    if not asks or (name is not None and forge.is_up(name)):
        return forge.cluster(name)
    return _rent(forge, task, name or task.cluster_name(), yes=yes)


def _see_through(cluster: Cluster, job: Job, task: Task, *, show: bool) -> int:
    status = follow(job)
    if show:
        show_end(status)
    report = _bring_back(cluster, task) if task.outputs else None
    if output.as_json:
        data = job_data(status, cluster.name)
        data["cluster_data"] = cluster_data(cluster.record, cluster.forge)
        data["outputs"] = None if report is None else {"files": report.files, "bytes": report.total_bytes}
        output.data(data)
    elif show:
        output.line()
        show_cost(cluster.forge.spent(cluster.record))
        show_still_up(cluster)
        name = cluster.name
        output.line(
            f"  next          gpuforge logs {status.alias} · gpuforge ssh {name} · gpuforge down {name}"
        )
    return exit_code_of(status, cluster)


def _copied(reports: tuple[SyncReport, ...]) -> None:
    for report in reports:
        for path, reason in report.skipped:
            output.warn(f"{path} was not copied: {reason}")


def _bring_back(cluster: Cluster, task: Task) -> SyncReport:
    into = task.workdir or Path.cwd()
    output.step(Step(key="outputs", text=", ".join(task.outputs)))
    report = cluster.pull(task.outputs, into=into)
    for path, reason in report.skipped:
        output.warn(f"{path} was left as it is here: {reason}")
    if report.files == 0:
        output.warn(f"outputs {', '.join(task.outputs)}: nothing of that name on {cluster.name}")
    text = f"{counted(report.files, 'file')} · {report.sent_files:,} new or changed · {into}"
    output.step(Step(key="outputs", text=text, done=True))
    return report


def _left_running(cluster: Cluster, job: Job) -> None:
    status = job.status()
    if output.as_json:
        output.data(job_data(status, cluster.name))
        return
    output.line(f"  started       job {status.alias} ({job.job_id})")
    show_still_up(cluster)
    output.line(f"  next          gpuforge logs {status.alias} -f -c {cluster.name}")
