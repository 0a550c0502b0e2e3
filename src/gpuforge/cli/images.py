"""``gpuforge images``: deep-learning images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.options import json_option
from gpuforge.cli.output import output
from gpuforge.errors import NotFoundError

if TYPE_CHECKING:
    from gpuforge.images.select import ImageRow

__all__ = ["command"]


@click.command("images", epilog="Example:  gpuforge images pytorch")
@click.argument("text", required=False, default="")
@click.option("--provider", metavar="NAME", help="Only this provider's.")
@json_option
def command(text: str, provider: str | None) -> None:
    """List image families with framework, CUDA and driver; TEXT filters."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    rows = Forge().image_rows(provider, text)
    if text and not rows:
        raise NotFoundError(f"no image matches {text!r}", resolution="gpuforge images      lists everything")
    if output.as_json:
        output.data([_data(name, row) for name, row in rows])
        return
    headers = ("IMAGE", "PROVIDER", "FRAMEWORK", "CUDA", "DRIVER", "SYSTEM", "STATUS")
    output.table(headers, [_cells(name, row) for name, row in rows])


def _cells(provider: str, row: ImageRow) -> tuple[str, ...]:
    return (
        row.name,
        provider,
        row.framework or "–",
        row.cuda or "–",
        row.driver or "–",
        row.os,
        row.status,
    )


def _data(provider: str, row: ImageRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "provider": provider,
        "framework": row.framework or None,
        "cuda": row.cuda or None,
        "driver": row.driver or None,
        "os": row.os,
        "status": row.status,
    }
