"""``gpuforge completion``: the shell's completion script."""

from __future__ import annotations

import click

from gpuforge.cli.output import output

__all__ = ["command"]


@click.command("completion", epilog='Example:  eval "$(gpuforge completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what completes verbs, options and cluster names in SHELL."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - start-up cost

    from gpuforge.cli.main import cli  # noqa: PLC0415

    kind = get_completion_class(shell)
    if kind is not None:
        output.result(kind(cli, {}, "gpuforge", "_GPUFORGE_COMPLETE").source())
