"""Options that several verbs share, each defined once."""

from __future__ import annotations

import itertools
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gpuforge.cli.errors import UsageError
from gpuforge.cli.output import output
from gpuforge.errors import DeclinedError, GpuforgeError
from gpuforge.redact import register

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from click.shell_completion import CompletionItem

__all__ = [
    "MACHINE_FLAGS",
    "CommandWords",
    "cluster_argument",
    "cluster_option",
    "confirm",
    "json_option",
    "new_cluster_option",
    "task_options",
    "yes_option",
]

# flags that describe machines: with one of them, no task file is needed to rent
MACHINE_FLAGS = ("gpus", "infra", "instance_type", "num_nodes", "use_spot", "image", "disk_size")

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

    try:
        clusters = Forge().clusters(refresh=False)
    except GpuforgeError:
        return []  # a message in the middle of somebody's typing helps nobody
    return [CompletionItem(c.name) for c in clusters if c.name.startswith(incomplete)]


def cluster_option(function: F) -> F:
    """``-c NAME``: which live cluster."""
    return _cluster_name("Cluster; may be left out while only one is up.")(function)


def new_cluster_option(function: F) -> F:
    """``-c NAME``: which cluster, live or to be made."""
    return _cluster_name("The cluster's name; the task's, or the folder's, when left out.")(function)


def _cluster_name(text: str) -> Callable[[F], F]:
    return click.option(
        "-c", "--cluster", "cluster_name", metavar="NAME", shell_complete=_complete_cluster, help=text
    )


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
        if equals and parameter.name == "secret":
            register(text)
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


class CommandWords(click.Command):
    """A verb that ends in somebody's command: whose an option is must be clear."""

    @staticmethod
    def leading(words: Sequence[str]) -> int:
        """How many of its words come before the command."""
        return min(1, len(words))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse ``run python x.py --epochs 4``: without ``--`` the option would be read as ours."""
        takers = {name for option in self.params for name in option.opts if _takes_value(option)}
        at = _first_word(args, takers)
        if at is not None:
            start = at + self.leading(args[at:])
            command = list(itertools.takewhile(lambda word: word != "--", args[start:]))
            if command and not command[0].startswith("-") and any(w.startswith("-") for w in command[1:]):
                raise UsageError(
                    "put -- before the command, or its options are read as gpuforge's",
                    resolution=shlex.join([*ctx.command_path.split(), *args[:start], "--", *args[start:]]),
                )
        return super().parse_args(ctx, args)


def _takes_value(option: click.Parameter) -> bool:
    return isinstance(option, click.Option) and not option.is_flag and not option.count


def _first_word(args: Sequence[str], takers: Collection[str]) -> int | None:
    """Where the first argument stands that is no option and no option's value."""
    at = 0
    while at < len(args) and args[at] != "--":
        if not args[at].startswith("-"):
            return at
        at += 2 if args[at] in takers else 1
    return None


def confirm(question: str, *, yes: bool, default: bool = True) -> None:
    """Ask once; without a terminal to ask on, refuse.

    Args:
        question: What will happen; one line.
        yes: It was agreed to beforehand.
        default: What Enter alone means.

    Raises:
        DeclinedError: Declined, or nobody to ask (exit 76).
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise DeclinedError(
            "this asks before it goes on, and there is no terminal to ask on",
            details=question,
            resolution="add --yes to agree beforehand",
        )
    output.ask(f"{question} {'[Y/n]' if default else '[y/N]'} ")
    line = sys.stdin.readline()
    answer = line.strip().lower()
    if not line or (answer not in {"y", "yes"} and (answer or not default)):
        raise DeclinedError("declined; nothing was done")
