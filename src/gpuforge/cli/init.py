"""``gpuforge init``: write a commented task file."""

from __future__ import annotations

from pathlib import Path

import click

from gpuforge.cli.options import json_option
from gpuforge.cli.output import output
from gpuforge.errors import PolicyError
from gpuforge.models.ids import slug

__all__ = ["command"]


@click.command("init", epilog="Example:  gpuforge init --gpus L4:1")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("gpuforge.yaml"))
@click.option("-n", "--name", metavar="NAME", help="The task's name; the folder's when left out.")
@click.option("--gpus", default="L4:1", show_default=True, metavar="GPU[:N]", help="GPUs per node.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option
def command(file: Path, name: str | None, gpus: str, *, force: bool) -> None:
    """Write FILE with every key that matters, explained."""
    from gpuforge.spec.template import task_template  # noqa: PLC0415 - start-up cost

    text = task_template(name or slug(Path.cwd().name), gpus)
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise PolicyError(
            f"{file} is there already; it was left as it is",
            resolution="another name, or --force to replace it",
        ) from None
    except OSError as error:
        raise PolicyError(f"{file} cannot be written", details=error.strerror or str(error)) from error
    if output.as_json:
        output.data({"file": str(file)})
    else:
        output.line(f"wrote {file}\n  next   gpuforge plan      costs nothing\n         gpuforge run --down")
