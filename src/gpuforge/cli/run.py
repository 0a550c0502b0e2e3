"""``gpuforge run``: up if needed, copy, run, stream, bring outputs back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.clusterview import cluster_data, selector, show_cost, show_next, show_still_up, usd_text
from gpuforge.cli.errors import report
from gpuforge.cli.follow import Detached, exit_code_of, follow, job_data, show_end
from gpuforge.cli.options import (
    MACHINE_FLAGS,
    CommandWords,
    json_option,
    new_cluster_option,
    task_options,
    yes_option,
)
from gpuforge.cli.output import output
from gpuforge.cli.rent import rent
from gpuforge.cli.reports import report_data
from gpuforge.cli.tasks import command_text, is_task_file, read_task
from gpuforge.cli.words import counted, from_home
from gpuforge.errors import GpuforgeError, SpecError, SyncError, TransportError
from gpuforge.models.job import Command, JobState
from gpuforge.models.progress import Step
from gpuforge.models.sync import format_size
from gpuforge.sync.plan import CHANGED_HERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuforge.forge import Cluster, Forge, Job
    from gpuforge.models.job import JobStatus
    from gpuforge.models.sync import SyncReport
    from gpuforge.spec.task import Task

__all__ = ["command"]


class _Run(CommandWords):
    """Of its words, a task file comes before a command."""

    @staticmethod
    def leading(words: Sequence[str]) -> int:
        """One for the task file."""
        return 1 if is_task_file(words[0]) else 0


@click.command(
    "run",
    cls=_Run,
    epilog="Examples:  gpuforge run --down      gpuforge run -c sandbox -- python train.py --epochs 4",
)
@click.argument("words", nargs=-1, metavar="[FILE | COMMAND...]")
@new_cluster_option
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
    asks = any(flags.get(name) is not None for name in MACHINE_FLAGS)
    limited = flags.get("max_duration") is not None
    task: Task | Command
    if words and not file and not any(flags.values()):
        task = Command(run=command_text(words))  # nothing to read: models and YAML stay unloaded
    else:
        task = read_task(forge, file, command=words[1:] if file else words, **flags)
    if not task.run:
        raise SpecError(
            "the task has nothing to run",
            details="its run is empty",
            resolution="gpuforge up      rents its machines\ngpuforge run -- COMMAND      runs a command",
        )
    show = not words or file is not None
    cluster, was_up = _machines(forge, task, cluster_name, rents=show or asks, yes=yes)
    # on machines rented for it the limit is theirs; on live ones it must fit into what is left
    needs = task.max_duration if limited and was_up and not isinstance(task, Command) else None
    try:
        if show and not isinstance(task, Command):
            _copied(cluster.push(task))
        job = cluster.start(task, setup=show and not no_setup, needs=needs)
    except GpuforgeError:
        if down:
            show_cost(cluster.down())
        raise
    if detach:
        _left_running(cluster, job)
        return
    setup, run = (task.setup if not no_setup else "", task.run) if show else ("", "")
    status = _follow(cluster, job, setup=setup, run=run, down=down)
    context.exit(_finish(cluster, task, status, down=down, show=show))


def _follow(cluster: Cluster, job: Job, *, setup: str, run: str, down: bool) -> JobStatus:
    """Stream to the end; when that cannot be seen, ``--down`` is done only where nothing runs on."""
    try:
        return follow(job, setup=setup, run=run)
    except (Detached, TransportError):
        if down:
            output.line(f"  --down        not done: the job runs on; later  gpuforge down {cluster.name}")
        raise
    except GpuforgeError:  # its machine has ended
        if down:
            show_cost(cluster.down())
        raise


def _machines(
    forge: Forge, task: Task | Command, name: str | None, *, rents: bool, yes: bool
) -> tuple[Cluster, bool]:
    """The live cluster that is meant; where a file or flags say what it must be, one that is."""
    if isinstance(task, Command) or not rents:
        return forge.cluster(name), True
    return rent(forge, task, name or task.cluster_name(), yes=yes)


def _finish(cluster: Cluster, task: Task | Command, status: JobStatus, *, down: bool, show: bool) -> int:
    """Say how it ended, bring outputs back, give the machines back; the document comes last."""
    code = exit_code_of(status, cluster)
    if not output.as_json and (show or code):
        show_end(status)
    data = {**job_data(status, cluster.name), "cluster_data": cluster_data(cluster.record, cluster.forge)}
    try:
        data["outputs"] = _bring_back(cluster, task, status, alone=down)
        spent = cluster.down() if down else cluster.forge.spent(cluster.record)
    except GpuforgeError as error:
        return report(error, data=data)
    data["spent_usd"] = usd_text(spent.usd)
    if output.as_json:
        output.data(data)
    elif show or down:
        output.line()
        show_cost(spent, so_far=not down)
        if not down:
            show_still_up(cluster)
            name, which = cluster.name, selector(cluster)
            show_next(f"gpuforge logs {status.alias}{which}", f"gpuforge ssh {name}", f"gpuforge down {name}")
    return code


def _copied(reports: tuple[SyncReport, ...]) -> None:
    for copied in reports:
        for path, reason in copied.skipped:
            output.warn(f"{path} was not copied: {reason}")


def _bring_back(
    cluster: Cluster, task: Task | Command, status: JobStatus, *, alone: bool
) -> dict[str, Any] | None:
    """The task's outputs; ``alone`` when what stays behind would be deleted with its machine.

    Raises:
        SyncError: Something stays behind, and its machine was to go.
    """
    if isinstance(task, Command) or not task.outputs:
        return None
    names = ", ".join(task.outputs)
    output.step(Step(key="outputs", text=names))
    into = task.workdir or Path.cwd()
    try:
        copied = cluster.pull(task.outputs, into=into)
    except TransportError as error:
        if status.state is not JobState.LOST:
            raise
        output.warn(f"outputs {names} could not be brought back: {error.brief}")
        return None
    for path, reason in copied.skipped:
        output.warn(f"{path}: {reason}")
    kept = [row for row in copied.skipped if row[1] == CHANGED_HERE]
    if kept and alone:
        raise SyncError(
            f"{counted(len(kept), 'output')} of {cluster.name} would be lost, so it was not given back",
            rows=kept,
            resolution=f"gpuforge pull {shlex.join(task.outputs)} -c {cluster.name} --into elsewhere\n"
            f"gpuforge down {cluster.name}",
        )
    if not copied.files:
        output.steps.drop("outputs")
        return report_data(copied)
    told = f"{names} · {counted(copied.sent_files, 'new file')} · {format_size(copied.sent_bytes)}"
    where = "" if into == Path.cwd() else f" · in {from_home(into)}"
    output.step(Step(key="outputs", text=f"{told}{where}", done=True))
    return report_data(copied)


def _left_running(cluster: Cluster, job: Job) -> None:
    status = job.status()
    if output.as_json:
        output.data(job_data(status, cluster.name))
        return
    output.line(f"  started       job {status.alias} ({job.job_id})")
    show_still_up(cluster)
    which = selector(cluster)
    show_next(f"gpuforge logs {status.alias}{which} -f", f"gpuforge cancel {status.alias}{which}")
