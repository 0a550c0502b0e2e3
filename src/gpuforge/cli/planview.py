"""How a plan looks to a person."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gpuforge.cli.layout import labelled, three_columns
from gpuforge.cli.output import output
from gpuforge.cli.words import clock_time, counted, from_home, span
from gpuforge.models.money import format_usd
from gpuforge.models.sync import format_size

if TYPE_CHECKING:
    from decimal import Decimal

    from gpuforge.models.plan import Excluded, Option, Plan
    from gpuforge.spec.task import Task

__all__ = ["show_plan"]

_SHOWN = 2


def show_plan(plan: Plan, task: Task, *, verbose: bool = False, to_stdout: bool = False) -> None:
    """The first option in full, then what else was looked at."""
    say = output.result if to_stdout else output.line
    width = output.width(sys.stdout if to_stdout else sys.stderr)
    best = plan.best
    title = f"{plan.cluster_name} on {plan.provider}"
    say(f"{title} — simulated: nothing is billed" if plan.simulated else title)
    say("")
    rows = (_machine(plan, best), _image(best), _price(plan, best), *_workdir(task))
    for line in (*three_columns(rows, width), *_others(plan, verbose=verbose, width=width)):
        say(line)
    say("")


def _machine(plan: Plan, option: Option) -> tuple[str, str, str]:
    offering = option.offering
    gpu = offering.accelerator
    parts = [
        f"{gpu.name} × {gpu.count}" if gpu else "no GPU",
        f"{offering.vcpus} vCPU",
        f"{_plain(offering.memory_gib)} GiB",
        f"{option.need.disk_gib} GB disk",
    ]
    return f"{plan.num_nodes} × {offering.instance_type}", " · ".join(parts), offering.zone


def _image(option: Option) -> tuple[str, str, str]:
    image = option.image
    parts = [image.framework or image.id]
    parts += [f"cuda {image.cuda}"] if image.cuda else []
    parts += [f"driver {image.driver}"] if image.driver else []
    return "image", " · ".join(parts), image.id


def _price(plan: Plan, option: Option) -> tuple[str, str, str]:
    kind = str(option.offering.capacity_type).replace("_", " ")
    price = option.offering.price
    dated = f", as of {price.as_of}" if price else ""
    # failover may end on a dearer option: the bound holds for all of them
    known = [each.worst_case_usd for each in plan.options if each.worst_case_usd is not None]
    most = format_usd(max(known) if len(known) == len(plan.options) else None)
    bound = f"at most {most} until {clock_time(plan.deadline)} ({span(plan.max_duration)} limit)"
    return "price", f"{format_usd(option.usd_per_hour)}/h {kind}{dated}", bound


def _workdir(task: Task) -> list[tuple[str, str, str]]:
    from gpuforge.sync import preview  # noqa: PLC0415 - start-up cost

    rows = []
    for seen in preview(task):
        ignored = f" · {seen.ignored:,} ignored" if seen.ignored else ""
        rows.append(
            (
                seen.label,
                from_home(seen.local),
                f"{counted(seen.files, 'file')} · {format_size(seen.total_bytes)}{ignored}",
            )
        )
        if seen.warning:
            output.warn(f"{seen.local}: {seen.warning}")
    return rows


def _others(plan: Plan, *, verbose: bool, width: int | None) -> list[str]:
    rest = [_option(option) for option in plan.options[1:]]
    left_out = [_excluded(excluded) for excluded in plan.excluded]
    if verbose:
        return [
            *(f"  {'then':<13} {text}" for text in rest),
            *(f"  {'left out':<13} {text}" for text in left_out),
        ]
    shown = [*rest, *left_out][:_SHOWN]
    more = len(rest) + len(left_out) - len(shown)
    if more > 0:
        shown.append(f"{more} more: gpuforge plan -v")
    return labelled("not chosen", shown, width) if shown else []


def _option(option: Option) -> str:
    return f"{option.offering.instance_type} in {option.offering.zone} ({format_usd(option.usd_per_hour)}/h)"


def _excluded(excluded: Excluded) -> str:
    return f"{excluded.offering.instance_type} in {excluded.offering.zone} ({excluded.reason})"


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
