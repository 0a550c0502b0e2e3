"""What reaches the screen: results on stdout, everything else on stderr, JSON alone with ``--json``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

from gpuforge.cli import layout
from gpuforge.cli.steps import Steps
from gpuforge.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpuforge.models.progress import Step

__all__ = ["SCHEMA", "Output", "output"]

SCHEMA = "gpuforge/1"


class Output:
    """One per process; verbs write here and nowhere else."""

    def __init__(self) -> None:
        self.as_json = False
        self.warnings: list[str] = []
        self.steps = Steps(self)
        self._is_mid_line = False

    def begin(self, *, as_json: bool) -> None:
        """A command line starts: nothing is left of an earlier one."""
        self.as_json = as_json
        self.warnings = []
        self._is_mid_line = False

    def result(self, text: str) -> None:
        """A line of the answer itself, on stdout."""
        self.steps.pause()
        _echo(text, sys.stdout)

    def line(self, text: str = "") -> None:
        """A line for the person, on stderr."""
        self.steps.pause()
        if self._is_mid_line and sys.stdout.isatty():
            click.echo()  # a job's last words may lack their newline
        self._is_mid_line = False
        _echo(text, sys.stderr)

    def ask(self, question: str) -> None:
        """A question on stderr; the answer is typed behind it."""
        self.steps.pause(may_move=False)
        click.echo(layout.plain(redact(question), sys.stderr.encoding or "ascii"), nl=False, err=True)

    def lines(self, texts: Iterable[str]) -> None:
        """Several of them."""
        for text in texts:
            self.line(text)

    def warn(self, text: str) -> None:
        """A warning: a line, and a member of the envelope."""
        self.warnings.append(redact(text))
        self.line(f"{self.paint('warning:', 'yellow')} {printable(text)}")

    def raw(self, data: bytes) -> None:
        """A job's own bytes, untouched."""
        if data:
            self._is_mid_line = not data.endswith(b"\n")
            self.steps.pause(may_move=not self._is_mid_line)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def data(self, data: Any) -> None:
        """The answer as a document."""
        self._envelope(ok=True, data=data, error=None)

    def failure(self, error: dict[str, Any], *, data: Any = None) -> None:
        """An error as a document; ``data`` is what was reached all the same."""
        self._envelope(ok=False, data=data, error=error)

    def event(self, event: dict[str, Any]) -> None:
        """One object of a stream."""
        _echo_document({"schema": SCHEMA, **event})

    def event_if_json(self, event: dict[str, Any]) -> None:
        """One object of a stream that people see as lines of another kind."""
        if self.as_json:
            self.event(event)

    def forget_stdout(self) -> None:
        """Its reader is gone (`… | head`): what is still written goes nowhere, and nothing complains."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _envelope(self, *, ok: bool, data: Any, error: dict[str, Any] | None) -> None:
        document = {"schema": SCHEMA, "ok": ok, "data": data, "warnings": self.warnings, "error": error}
        _echo_document(document)

    def step(self, step: Step, /) -> None:
        """The progress callback handed to the façade."""
        if not self.as_json:
            self.steps.show(step)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Aligned columns on stdout; lines are cut to a terminal, a pipe gets all of them."""
        for number, text in enumerate(layout.table(headers, rows, self.width(sys.stdout))):
            self.result(self.paint(text, "dim") if number == 0 else text)

    def width(self, stream: TextIO | None = None) -> int | None:
        """Columns of the terminal behind ``stream`` (stderr), or ``None`` where there is none."""
        try:
            return os.get_terminal_size((stream or sys.stderr).fileno()).columns or None
        except (OSError, ValueError):
            return None

    def paint(self, text: str, colour: str) -> str:
        """Colour for a terminal; click takes it away again where there is none."""
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return text
        return click.style(text, dim=True) if colour == "dim" else click.style(text, fg=colour)

    def close(self) -> None:
        """Take any moving line away."""
        self.steps.close()


def printable(text: str) -> str:
    """Text from elsewhere without control characters, which could rewrite the screen."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def _echo_document(document: dict[str, Any]) -> None:
    """One line of JSON; a secret is masked in values alone, or it could take a key away."""
    click.echo(json.dumps(_masked(document), default=str))


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value


def _echo(text: str, stream: TextIO) -> None:
    click.echo(layout.plain(redact(text), stream.encoding or "ascii"), file=stream)


output = Output()
