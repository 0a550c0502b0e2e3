"""The one place that prints errors and picks exit codes."""

from __future__ import annotations

import errno
import itertools
import shlex
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gpuforge.cli.output import output, printable
from gpuforge.errors import CleanupError, GpuforgeError, ProvisionError, SpecError, StateError, SyncError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "INTERRUPTED",
    "READER_GONE",
    "UsageError",
    "echoed",
    "endings",
    "error_data",
    "report",
    "run_and_report",
]

INTERRUPTED = 130
READER_GONE = 141  # as any program that SIGPIPE ends
_USAGE = 64
_BUG = 70
# what this computer refuses, and nobody's bug
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE}


class UsageError(click.UsageError):
    """A mistake in a command line, with the line that was meant."""

    def __init__(self, message: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(message)
        self.details = details
        self.resolution = resolution


def run_and_report(cli: click.Command, argv: list[str]) -> int:
    """Invoke ``cli``; whatever happens becomes three lines and an exit code, never a traceback."""
    output.begin(as_json=_wants_json(argv))
    try:
        code = cli.main(args=argv, prog_name="gpuforge", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        return _usage(error)
    except click.Abort:
        return _interrupted()
    except GpuforgeError as error:
        return report(error)
    except OSError as error:
        return _refused(error) if error.errno in _REFUSED else _bug(error, argv)
    except Exception as error:  # noqa: BLE001 - the CLI's top: a bug is reported, not thrown
        return _bug(error, argv)
    finally:
        output.close()


@contextmanager
def endings() -> Iterator[None]:
    """Around a verb: Ctrl-C and a reader that went away end it with their codes.

    They are met here because click's own handling prints an empty line for one and exits 1 for the other.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(_interrupted()) from None
    except BrokenPipeError:
        output.forget_stdout()
        raise click.exceptions.Exit(READER_GONE) from None


def _interrupted() -> int:
    if output.as_json:
        output.failure(
            {
                "code": "interrupted",
                "exit_code": INTERRUPTED,
                "brief": "interrupted",
                "details": "",
                "resolution": "gpuforge status",
            }
        )
        return INTERRUPTED
    output.line(f"{echoed()}interrupted")
    _block("why", ["what is up goes on and may cost money; what was begun is finished or undone by  gc"])
    _block("do", ["gpuforge status      what is up", "gpuforge gc          finishes what was begun"])
    return INTERRUPTED


def echoed() -> str:
    """What goes before a line that answers Ctrl-C: the terminal has just written ``^C`` itself."""
    return " " if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty() else ""


def _wants_json(argv: list[str]) -> bool:
    options = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in options or "-ojson" in options or ("-o", "json") in itertools.pairwise(options)


def _usage(error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and error.ctx is not None:
        output.result(error.ctx.get_help())
        return _USAGE
    path = "gpuforge" if error.ctx is None else error.ctx.command_path
    resolution = getattr(error, "resolution", "") or f"{path} --help"
    report(SpecError(_brief(error, path), details=getattr(error, "details", ""), resolution=resolution))
    return _USAGE


def _brief(error: click.UsageError, path: str) -> str:
    """A sentence of click's in our manner: no capital, no full stop."""
    if isinstance(error, click.NoSuchOption):
        near = f"; did you mean {' or '.join(error.possibilities)}?" if error.possibilities else ""
        return f"{path} has no option {error.option_name}{near}"
    text = error.format_message().strip().rstrip(".")
    return text[:1].lower() + text[1:]


def report(error: GpuforgeError, *, data: Any = None) -> int:
    """Show one error: what, why, what to do; the document alone with ``--json``.

    Args:
        error: What happened.
        data: What was reached all the same, for the document.

    Returns:
        The exit code.
    """
    if output.as_json:
        output.failure(error_data(error), data=data)
    else:
        _show(error)
    return error.exit_code


def _show(error: GpuforgeError) -> None:
    output.line(f"{output.paint('error:', 'red')} {printable(error.brief)}")
    if isinstance(error, SpecError) and error.mistakes:
        _mistakes(error)
    elif isinstance(error, ProvisionError) and error.attempts:
        _block("why", _aligned([(a.instance_type, a.place, a.reason) for a in error.attempts]))
    elif isinstance(error, SyncError) and error.rows:
        _block("why", _aligned(error.rows))
    elif isinstance(error, CleanupError) and error.leftovers:
        _leftovers(error)
    elif error.details:
        _block("why", error.details.splitlines())
    if error.resolution:
        _block("do", error.resolution.splitlines())


def _leftovers(error: CleanupError) -> None:
    for left in error.leftovers:
        ends = f"; its cloud ends it at {left.until}" if left.until else ""
        output.line(f"  {left.kind} {left.name} in {left.place}: {printable(left.reason)}{ends}")


def _mistakes(error: SpecError) -> None:
    width = max(len(mistake.where) for mistake in error.mistakes)
    for mistake in error.mistakes:
        message = printable(mistake.message)
        if mistake.snippet:
            output.line(f"  {mistake.where:<{width}}    {printable(mistake.snippet)}")
            marker = "^" * max(1, len(mistake.snippet.split(":")[0].strip()))
            output.line(f"  {'':<{width}}    {output.paint(marker, 'red')} {message}")
        else:
            output.line(f"  {mistake.where:<{width}}    {message}")


def _aligned(rows: list[tuple[str, ...]] | tuple[tuple[str, ...], ...]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return ["  ".join((*(f"{c:<{w}}" for c, w in zip(row, widths, strict=False)), row[-1])) for row in rows]


def _block(title: str, lines: list[str]) -> None:
    for index, line in enumerate(lines):
        head = title if index == 0 else ""
        output.line(f"  {output.paint(f'{head:<4}', 'dim')} {printable(line)}".rstrip())


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
    if isinstance(error, SyncError):
        data["rows"] = [{"path": path, "reason": reason} for path, reason in error.rows]
    if isinstance(error, CleanupError):
        data["leftovers"] = [
            {"kind": x.kind, "name": x.name, "place": x.place, "reason": x.reason, "until": x.until or None}
            for x in error.leftovers
        ]
    return data


def _refused(error: OSError) -> int:
    where = f"{error.filename}: " if error.filename else ""
    return report(
        StateError(
            f"this computer refused: {where}{error.strerror}",
            resolution="make room or give access, then repeat; GPUFORGE_HOME moves gpuforge's files",
        )
    )


def _bug(error: Exception, argv: list[str]) -> int:
    from gpuforge.redact import redact  # noqa: PLC0415 - start-up cost
    from gpuforge.state.paths import Paths  # noqa: PLC0415

    text = redact(f"gpuforge {shlex.join(argv)}\n\n{''.join(traceback.format_exception(error))}")
    where = _write_crash(Paths.from_environment().state / "crash.txt", text)
    report(
        GpuforgeError(
            f"gpuforge itself failed: {type(error).__name__}: {redact(str(error))}",
            details=f"this is a bug; its traceback is in {where}",
            resolution="gpuforge gc      finishes what this command began\nthen report that file",
        )
    )
    return _BUG


def _write_crash(path: Path, text: str) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", "backslashreplace")
    except OSError:
        sys.stderr.write(text)
        return "the lines above"
    return str(path)
