"""The command table and the entry point; a verb's module is imported when the verb is used."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from gpuforge._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "LazyGroup", "cli", "main"]

# verb -> (module, one-line help); help is listed from here, so that listing loads no verb
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Write a commented task file."),
    "plan": ("plan", "Show what would be rented, at what price, and why not something else."),
    "up": ("up", "Rent the machines of a task and make them ready."),
    "run": ("run", "Do all of it: up if needed, copy, run, stream, bring outputs back."),
    "down": ("down", "Give machines back; done only when the cloud says so."),
    "status": ("status", "Clusters, their jobs, what they cost and when they end."),
    "jobs": ("jobs", "Jobs of a cluster."),
    "logs": ("logs", "Print or follow a job's output."),
    "cancel": ("cancel", "End a job and everything it started."),
    "ssh": ("ssh", "A shell, or one command, on a node."),
    "push": ("push", "Copy files to every node; only what changed travels."),
    "pull": ("pull", "Bring files back; a local file that changed since is kept."),
    "gpus": ("gpus", "GPUs, the instance types that carry them, and prices."),
    "images": ("images", "Deep-learning images."),
    "doctor": ("doctor", "Check the set-up; say which setting came from where."),
    "gc": ("gc", "Finish what an interrupted command began; report unknown machines."),
    "completion": ("completion", "Print the shell completion script."),
}

# what people type who come from another tool
_FOREIGN = {
    "launch": "run",
    "exec": "run -c CLUSTER -- COMMAND",
    "check": "doctor",
    "queue": "jobs",
    "apply": "run",
    "ps": "status",
    "destroy": "down",
    "delete": "down",
    "terminate": "down",
    "create": "up",
    "start": "up",
    "list": "status",
    "show-gpus": "gpus",
    "attach": "logs -f",
}

_PLUGINS = "gpuforge.cli"


class LazyGroup(click.Group):
    """A group whose verbs are strings until one is called; providers add theirs by entry point."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Verbs in the order of the table, then the plug-ins'."""
        return [*COMMANDS, *sorted(_plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one verb."""
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"gpuforge.cli.{COMMANDS[cmd_name][0]}")
            command: click.Command = module.command
            return command
        plugin = _plugins().get(cmd_name)
        return None if plugin is None else _load(plugin)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List help from the table, since click's own listing would load every verb."""
        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        rows += [(name, f"Verbs of the {name} provider.") for name in sorted(_plugins())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown verb is answered with the one that was meant."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise _unknown(name)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; Ctrl-C and a closed pipe end it with their codes."""
        from gpuforge.cli.errors import endings  # noqa: PLC0415 - start-up cost

        with endings():
            return super().invoke(ctx)


def _unknown(name: str) -> click.UsageError:
    from gpuforge.cli.errors import UsageError  # noqa: PLC0415 - start-up cost

    if name in _FOREIGN:
        meant = f"gpuforge {_FOREIGN[name]}"
        return UsageError(f"gpuforge has no verb {name!r}; what it means is here", resolution=meant)
    import difflib  # noqa: PLC0415 - only a mistake needs it

    near = difflib.get_close_matches(name, [*COMMANDS, *_plugins(), *_FOREIGN], n=1)
    if near:
        meant = f"gpuforge {_FOREIGN.get(near[0], near[0])}"
        return UsageError(f"gpuforge has no verb {name!r}; did you mean {near[0]!r}?", resolution=meant)
    return UsageError(f"gpuforge has no verb {name!r}", resolution="gpuforge --help")


def _load(plugin: importlib.metadata.EntryPoint) -> click.Command:
    try:
        command: click.Command = plugin.load()
    except (ImportError, AttributeError) as error:
        from gpuforge.errors import ProviderError  # noqa: PLC0415 - start-up cost

        raise ProviderError(
            f"the verb {plugin.name!r} of a plug-in cannot be loaded",
            details=f"{plugin.value}: {error}",
            resolution="reinstall or remove that package",
        ) from error
    return command


def _plugins() -> dict[str, importlib.metadata.EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - start-up cost

    return {entry.name: entry for entry in entry_points(group=_PLUGINS)}


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start:  gpuforge init && gpuforge run      Docs: docs/ in the repository",
)
@click.version_option(__version__, "-V", "--version", message="gpuforge %(version)s")
def cli() -> None:
    """Rent cloud GPU machines, train on them, and give them back."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line and exit with its documented code."""
    from gpuforge.cli.errors import run_and_report  # noqa: PLC0415 - start-up cost

    sys.exit(run_and_report(cli, list(sys.argv[1:] if argv is None else argv)))


if __name__ == "__main__":
    main()
