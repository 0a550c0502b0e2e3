"""Options that several verbs share, each defined once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gpuforge.cli.output import output
from gpuforge.errors import DeclinedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

__all__ = ["cluster_argument", "cluster_option", "confirm", "json_option", "task_options", "yes_option"]

F = TypeVar("F", bound="Callable[..., Any]")


def json_option(function: F) -> F:
    """``--json`` (or ``-o json``): the answer as one document on stdout."""

    def choose(_context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value in (True, "json"):
            output.as_json = True

    function = click.option(
        "-o",
        "output_format",
        type=click.Choice(["table", "json"]),
        expose_value=False,
        callback=choose,
        hidden=True,
    )(function)
    return click.option(
        "--json", "json_flag", is_flag=True, expose_value=False, callback=choose, help="Answer with JSON."
    )(function)


def yes_option(function: F) -> F:
    """``--yes``: do not ask."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def _complete_cluster(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - start-up cost

    from gpuforge.forge import Forge  # noqa: PLC0415

    clusters = Forge().clusters(refresh=False)
    return [CompletionItem(c.name) for c in clusters if c.name.startswith(incomplete)]


def cluster_option(function: F) -> F:
    """``-c NAME``: which cluster."""
    return click.option(
        "-c", "--cluster", "cluster_name", metavar="NAME", shell_complete=_complete_cluster,
        help="Cluster; may be left out while only one is up.",
    )(function)  # fmt: skip


def cluster_argument(*, required: bool, many: bool = False) -> Callable[[F], F]:
    """A cluster's name as an argument."""
    return click.argument(
        "names" if many else "name",
        nargs=-1 if many else 1,
        required=required,
        shell_complete=_complete_cluster,
    )


def _env_pairs(
    _context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name:
            raise click.BadParameter(
                "write NAME=value, or NAME to take it from the environment", param=parameter
            )
        pairs[name] = text if equals else None
    return pairs


_TASK_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("-n", "--name"), {"metavar": "NAME", "help": "The task's name."}),
    (("--env",), {"multiple": True, "callback": _env_pairs, "metavar": "NAME[=VALUE]",
                  "help": "Set a variable."}),
    (("--secret",), {"multiple": True, "callback": _env_pairs, "metavar": "NAME[=VALUE]",
                     "help": "A secret; NAME alone takes it from the environment."}),
    (("--gpus",), {"metavar": "GPU[:N]", "help": "GPUs per node, such as L4:1."}),
    (("--infra",), {"metavar": "WHERE", "help": "provider, provider/region or provider/region/zone."}),
    (("--provider",), {"metavar": "NAME", "help": "The provider alone."}),
    (("--num-nodes",), {"type": int, "metavar": "N", "help": "Number of equal machines."}),
    (("--use-spot/--no-use-spot",), {"default": None, "help": "Cheaper, can be taken back at any time."}),
    (("--instance-type",), {"metavar": "TYPE", "help": "Exactly this machine."}),
    (("--disk-size",), {"type": int, "metavar": "GB", "help": "Size of the boot disk."}),
    (("--image",), {"metavar": "IMAGE", "help": "Image or family; see  gpuforge images."}),
    (("--max-duration",), {"metavar": "SPAN", "help": "The cloud ends the machines after this, such as 6h."}),
    (("--max-cost",), {"metavar": "USD", "help": "Refuse a plan whose worst case is dearer."}),
    (("--autostop",), {"type": int, "metavar": "MINUTES", "help": "Delete after this many idle minutes."}),
    (("--workdir",), {"type": click.Path(path_type=Path), "metavar": "DIR",
                      "help": "Folder to copy to the machines."}),
)  # fmt: skip


def task_options(function: F) -> F:
    """Everything a flag can say about a task; a flag wins over the file."""
    for names, settings in reversed(_TASK_OPTIONS):
        function = click.option(*names, **settings)(function)
    return function


def confirm(question: str, *, yes: bool) -> None:
    """Ask once; without a terminal to ask on, refuse.

    Raises:
        DeclinedError: Declined, or nobody to ask (exit 76).
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise DeclinedError(
            "this asks before it goes on, and there is no terminal to ask on",
            resolution="add --yes to agree beforehand",
        )
    answer = click.prompt(question, default="y", show_default=False, prompt_suffix=" [Y/n] ", err=True)
    if str(answer).strip().lower() not in {"y", "yes"}:
        raise DeclinedError("declined; nothing was done")
