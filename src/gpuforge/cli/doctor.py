"""``gpuforge doctor``: check the set-up; say which setting came from where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpuforge.cli.options import json_option
from gpuforge.cli.output import output
from gpuforge.models.instance import CheckStatus

if TYPE_CHECKING:
    from gpuforge.models.instance import Check

__all__ = ["command"]

_FAILED = 77


@click.command("doctor", epilog="Example:  gpuforge doctor --provider fake")
@click.option("--provider", metavar="NAME", help="Check this provider's account too.")
@json_option
@click.pass_context
def command(context: click.Context, provider: str | None) -> None:
    """Check this computer and the provider's account; changes nothing."""
    from gpuforge.forge import Forge  # noqa: PLC0415 - start-up cost

    checks = Forge(provider=provider).checks()
    if output.as_json:
        output.data(
            [{"name": c.name, "status": str(c.status), "message": c.message, "fix": c.fix} for c in checks]
        )
    else:
        _show(checks)
    context.exit(_FAILED if any(c.status is CheckStatus.FAIL for c in checks) else 0)


def _show(checks: tuple[Check, ...]) -> None:
    signs = {
        CheckStatus.PASS: output.paint("✓", "green"),
        CheckStatus.FAIL: output.paint("✗", "red"),
        CheckStatus.SKIP: "–",
    }
    width = max(len(check.name) for check in checks)
    for check in checks:
        output.result(f"  {signs[check.status]} {check.name:<{width}}  {check.message}")
        if check.fix:
            output.result(f"    {'':<{width}}  do  {check.fix}")
