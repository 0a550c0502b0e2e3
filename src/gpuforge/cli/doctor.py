"""``gpuforge doctor``: check the set-up; say which setting came from where."""

from __future__ import annotations

import click

from gpuforge.cli.options import json_option
from gpuforge.cli.output import output
from gpuforge.models.instance import CheckStatus

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
        signs = {
            CheckStatus.PASS: output.paint(output.sign("✓", "ok"), "green"),
            CheckStatus.FAIL: output.paint(output.sign("✗", "x"), "red"),
            CheckStatus.SKIP: output.sign("–", "-"),
        }
        for check in checks:
            output.result(f"  {signs[check.status]} {check.name:<13} {check.message}")
            if check.fix:
                output.result(f"    {'':<13} do  {check.fix}")
    context.exit(_FAILED if any(c.status is CheckStatus.FAIL for c in checks) else 0)
