"""The one place that prints errors and picks exit codes."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.output import output
from gpuforge.errors import CleanupError, GpuforgeError, ProvisionError, SpecError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["INTERRUPTED", "error_data", "report", "run_and_report"]

INTERRUPTED = 130
_USAGE = 64
_DECLINED = 76
_BUG = 70


def run_and_report(cli: click.Command, argv: list[str]) -> int:
    """Invoke ``cli``; whatever happens becomes three lines and an exit code, never a traceback."""
    output.as_json = _wants_json(argv)
    try:
        return _invoke(cli, argv)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        return _usage(error)
    except (click.Abort, KeyboardInterrupt):
        output.line("\ninterrupted; what is up goes on: gpuforge status · what was begun: gpuforge gc")
        return INTERRUPTED
    except GpuforgeError as error:
        report(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the CLI's top: a bug is reported, not thrown
        return _bug(error, argv)
    finally:
        output.close()


def _invoke(cli: click.Command, argv: list[str]) -> int:
    try:
        code = cli.main(args=argv, prog_name="gpuforge", standalone_mode=False)
    except BrokenPipeError:
        # the reader went away (`gpuforge logs | head`); Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _wants_json(argv: list[str]) -> bool:
    options = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in options or ("-o", "json") in itertools.pairwise(options)


def _usage(error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        output.result(error.ctx.get_help())
        return _USAGE
    path = "gpuforge" if error.ctx is None else error.ctx.command_path
    report(SpecError(error.format_message(), resolution=f"{path} --help"))
    return _USAGE


def report(error: GpuforgeError) -> None:
    """Show one error: what, why, what to do; the document alone with ``--json``."""
    if output.as_json:
        output.failure(error_data(error))
        return
    output.line(f"{output.paint('error:', 'red')} {error.brief}")
    if isinstance(error, SpecError) and error.mistakes:
        _mistakes(error)
    elif isinstance(error, ProvisionError) and error.attempts:
        rows = [(a.instance_type, a.place, a.reason) for a in error.attempts]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        _block("why", [f"{t:<{widths[0]}}  {p:<{widths[1]}}  {r}" for t, p, r in rows])
    elif error.details:
        _block("why", error.details.splitlines())
    if error.resolution:
        _block("do", error.resolution.splitlines())


def _mistakes(error: SpecError) -> None:
    width = max(len(mistake.where) for mistake in error.mistakes)
    for mistake in error.mistakes:
        if mistake.snippet:
            output.line(f"  {mistake.where:<{width}}    {mistake.snippet}")
            marker = "^" * max(1, len(mistake.snippet.split(":")[0].strip()))
            output.line(f"  {'':<{width}}    {output.paint(marker, 'red')} {mistake.message}")
        else:
            output.line(f"  {mistake.where:<{width}}    {mistake.message}")


def _block(title: str, lines: list[str]) -> None:
    for index, line in enumerate(lines):
        head = title if index == 0 else ""
        output.line(f"  {output.paint(f'{head:<4}', 'dim')} {line}")


def error_data(error: GpuforgeError) -> dict[str, Any]:
    """An error as the ``error`` member of the ``--json`` envelope."""
    data: dict[str, Any] = {
        "code": error.code,
        "exit_code": error.exit_code,
        "brief": error.brief,
        "details": error.details,
        "resolution": error.resolution,
    }
    if isinstance(error, SpecError):
        data["mistakes"] = [
            {"where": m.where, "message": m.message, "snippet": m.snippet} for m in error.mistakes
        ]
    if isinstance(error, ProvisionError):
        data["attempts"] = [
            {"instance_type": a.instance_type, "place": a.place, "reason": a.reason, "code": a.error_code}
            for a in error.attempts
        ]
    if isinstance(error, CleanupError):
        data["leftovers"] = [
            {"kind": x.kind, "name": x.name, "place": x.place, "reason": x.reason, "until": x.until}
            for x in error.leftovers
        ]
    return data


def _bug(error: Exception, argv: list[str]) -> int:
    from gpuforge.redact import redact  # noqa: PLC0415 - start-up cost
    from gpuforge.state.paths import Paths  # noqa: PLC0415

    text = redact(f"gpuforge {shlex.join(argv)}\n\n{''.join(traceback.format_exception(error))}")
    where = _write_crash(Paths.from_environment().state / "crash.txt", text)
    report(
        GpuforgeError(
            f"gpuforge itself failed: {type(error).__name__}: {redact(str(error))}",
            details=f"this is a bug; its traceback is in {where}",
            resolution="gpuforge gc   finishes what this command began\nthen report the bug with that file",
        )
    )
    return _BUG


def _write_crash(path: Path, text: str) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError:
        sys.stderr.write(text)
        return "the lines above"
    return str(path)
