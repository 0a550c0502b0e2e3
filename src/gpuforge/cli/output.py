"""What reaches the screen: results on stdout, everything else on stderr, JSON alone with ``--json``."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from gpuforge.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from gpuforge.models.progress import Step

__all__ = ["SCHEMA", "Output", "output"]

SCHEMA = "gpuforge/1"
_COLOURS = {"red": "red", "green": "green", "yellow": "yellow", "cyan": "cyan"}
_KEY_WIDTH = 12
_TEXT_WIDTH = 46


class Output:
    """One per process; verbs write here and nowhere else."""

    def __init__(self) -> None:
        self.as_json = False
        self.warnings: list[str] = []
        self._steps = _Steps(self)

    def result(self, text: str) -> None:
        """A line of the answer itself, on stdout."""
        click.echo(redact(text))

    def line(self, text: str = "") -> None:
        """A line for the person, on stderr."""
        self._steps.pause()
        click.echo(redact(text), err=True)

    def warn(self, text: str) -> None:
        """A warning: a line, and a member of the envelope."""
        self.warnings.append(redact(text))
        self.line(f"{self.paint('warning:', 'yellow')} {text}")

    def raw(self, data: bytes) -> None:
        """A job's own bytes, untouched but for secrets."""
        self._steps.pause()
        sys.stdout.buffer.write(
            redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        )
        sys.stdout.buffer.flush()

    def data(self, data: Any) -> None:
        """The answer as a document."""
        self._envelope(ok=True, data=data, error=None)

    def failure(self, error: dict[str, Any]) -> None:
        """An error as a document."""
        self._envelope(ok=False, data=None, error=error)

    def event(self, event: dict[str, Any]) -> None:
        """One object of a stream."""
        click.echo(redact(json.dumps({"schema": SCHEMA, **event}, default=str)))

    def _envelope(self, *, ok: bool, data: Any, error: dict[str, Any] | None) -> None:
        document = {"schema": SCHEMA, "ok": ok, "data": data, "warnings": self.warnings, "error": error}
        click.echo(redact(json.dumps(document, default=str)))

    def step(self, step: Step, /) -> None:
        """The progress callback handed to the façade."""
        if not self.as_json:
            self._steps.show(step)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Aligned columns on stdout; the last one is cut to the terminal, a pipe gets all of it."""
        lines = [tuple(headers), *(tuple(row) for row in rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
        for number, line in enumerate(lines):
            text = "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
            if sys.stdout.isatty():
                text = text[: shutil.get_terminal_size().columns]
            self.result(self.paint(text, "dim") if number == 0 else text)

    def paint(self, text: str, colour: str) -> str:
        """Colour where people look, plain text elsewhere."""
        if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
            return text
        if colour == "dim":
            return click.style(text, dim=True)
        return click.style(text, fg=_COLOURS[colour])

    def sign(self, unicode: str, ascii_: str) -> str:
        """A sign, or its plain form where the terminal cannot show it."""
        encoding = (getattr(sys.stderr, "encoding", None) or "ascii").lower()
        return unicode if "utf" in encoding else ascii_

    def close(self) -> None:
        """Take any moving line away."""
        self._steps.pause()


class _Steps:
    """Finished steps as lines; the ones in flight as moving lines on a terminal."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._began: dict[str, float] = {}
        self._lock = threading.Lock()
        self._live: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}

    def show(self, step: Step) -> None:
        with self._lock:
            self._began.setdefault(step.key, time.monotonic())
            if step.done or step.failed:
                self._finish(step)
            elif sys.stderr.isatty():
                self._move(step)

    def pause(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._tasks.clear()

    def _finish(self, step: Step) -> None:
        seconds = time.monotonic() - self._began.pop(step.key)
        sign = self._out.sign("✗", "x") if step.failed else self._out.sign("✓", "ok")
        sign = self._out.paint(sign, "red" if step.failed else "green")
        self._out.line(f"  {sign} {step.key:<{_KEY_WIDTH}}{step.text:<{_TEXT_WIDTH}}  {seconds:.1f} s")

    def _move(self, step: Step) -> None:
        if time.monotonic() - self._began[step.key] < 1:
            return  # most steps are over before an eye would catch them
        if self._live is None:
            self._live = _progress_bars()
            self._live.start()
        text = f"{step.key:<{_KEY_WIDTH}}{step.text}"
        if step.deadline is not None:
            waited = time.monotonic() - self._began[step.key]
            left = step.deadline.timestamp() - time.time()
            text += f" ({waited:.0f} s of at most {waited + left:.0f} s)"
        if step.key not in self._tasks:
            self._tasks[step.key] = self._live.add_task(text, total=step.total)
        self._live.update(
            self._tasks[step.key], description=text, completed=step.current or 0, total=step.total
        )


def _progress_bars() -> RichProgress:
    from rich import progress  # noqa: PLC0415 - start-up cost, terminals only
    from rich.console import Console  # noqa: PLC0415

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


output = Output()
