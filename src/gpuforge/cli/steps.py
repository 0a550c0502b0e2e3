"""Long work on the screen: finished steps as lines; what takes longer than a second as a moving line."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from gpuforge.cli.layout import fit, plain
from gpuforge.cli.words import span
from gpuforge.models.sync import format_size

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from gpuforge.models.progress import Step

__all__ = ["Steps", "moving_line"]

_KEY_WIDTH = 12
_TEXT_WIDTH = 46
_QUIET_SECONDS = 1.0  # most steps are over before an eye would catch them
_LOOK_SECONDS = 0.2
_BAR = 20
_SPINNER = "|/-\\"


@dataclass(slots=True)
class _InFlight:
    step: Step
    began: float


class Screen(Protocol):
    """Where finished lines go."""

    def line(self, text: str = "", /) -> None:
        """A line for the person."""
        ...

    def paint(self, text: str, colour: str, /) -> str:
        """Colour where people look."""
        ...


class Steps:
    """The lines of one process; steps may come from any thread."""

    def __init__(self, out: Screen) -> None:
        self._out = out
        self._open: dict[str, _InFlight] = {}
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._watcher: threading.Thread | None = None
        self._quiet_since = 0.0
        self._may_move = True

    def show(self, step: Step) -> None:
        """Take a step in: a line when it is over, a moving one while it lasts."""
        with self._lock:
            if step.done or step.failed:
                self._finish(step)
                return
            known = self._open.get(step.key)
            self._open[step.key] = _InFlight(step, known.began if known else time.monotonic())
            if self._watcher is None and _moves():
                self._quiet_since = time.monotonic()
                self._watcher = threading.Thread(target=self._watch, daemon=True, name="steps")
                self._watcher.start()

    def is_open(self, key: str) -> bool:
        """Whether that step began and is not over."""
        return key in self._open

    def drop(self, key: str) -> None:
        """Forget a step that is over without a line of its own."""
        with self._lock:
            self.pause()  # first: what it draws last is what there was
            self._open.pop(key, None)

    def pause(self, *, may_move: bool = True) -> None:
        """Take the moving lines away because something else is printed.

        Args:
            may_move: They may come back; not while a job's own line is unfinished.
        """
        with self._lock:
            self._quiet_since = time.monotonic()
            self._may_move = may_move
            if self._live is not None:
                self._live.stop()
                self._live = None

    def close(self) -> None:
        """Nothing is in flight any more."""
        with self._lock:
            self.pause()
            self._open.clear()
            self._watcher = None

    def _finish(self, step: Step) -> None:
        self.pause()
        known = self._open.pop(step.key, None)
        seconds = time.monotonic() - known.began if known else 0.0
        sign = self._out.paint("✗", "red") if step.failed else self._out.paint("✓", "green")
        self._out.line(f"  {sign} {step.key:<{_KEY_WIDTH}}{step.text:<{_TEXT_WIDTH}}  {seconds:.1f} s")

    def _watch(self) -> None:
        """Draw once the screen was quiet for a second; ends with the last step."""
        while True:
            time.sleep(_LOOK_SECONDS)
            with self._lock:
                if not self._open or self._watcher is not threading.current_thread():
                    if self._watcher is threading.current_thread():
                        self._watcher = None
                    self.pause(may_move=self._may_move)
                    return
                is_quiet = time.monotonic() - self._quiet_since >= _QUIET_SECONDS
                if self._live is None and self._may_move and is_quiet:
                    self._live = _live(self._render)
                    self._live.start()

    def _render(self) -> Text:
        # from rich's own thread and without the lock, which whoever stops that thread holds
        from rich.text import Text  # noqa: PLC0415 - start-up cost, terminals only

        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        now = time.monotonic()
        spin = _SPINNER[int(now * 8) % len(_SPINNER)]
        lines = [moving_line(x.step, now - x.began, spin) for x in list(self._open.values())]
        text = "\n".join(fit(line, width) for line in lines)
        return Text(plain(text, sys.stderr.encoding), no_wrap=True)


def moving_line(step: Step, seconds: float, spin: str) -> str:
    """One line of unfinished work: what it waits for, how far it is, how long it may still take.

    Args:
        step: The newest of its key.
        seconds: Since the first of its key.
        spin: The sign that moves.
    """
    return f"  {spin} {step.key:<{_KEY_WIDTH}}{step.text}  {_measure(step, seconds)}"


def _measure(step: Step, seconds: float) -> str:
    if step.total and (step.total > 1 or step.unit == "bytes"):
        done = min(step.current or 0, step.total)
        if step.unit != "bytes":
            return f"{done} of {step.total} {step.unit} ({_limit(step, seconds)})"
        filled = _BAR * done // step.total
        rate = done / seconds if seconds > 0 else 0
        left = f" · {span(timedelta(seconds=(step.total - done) / rate))} left" if rate else ""
        bar = "━" * filled + "─" * (_BAR - filled)
        return f"{bar} {format_size(done)} of {format_size(step.total)} · {format_size(round(rate))}/s{left}"
    return f"({_limit(step, seconds)})"


def _limit(step: Step, seconds: float) -> str:
    if step.deadline is None:
        return f"{seconds:.0f} s"
    left = max(timedelta(), step.deadline - datetime.now(UTC))
    return f"{seconds:.0f} s of at most {seconds + left.total_seconds():.0f} s"


def _moves() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _live(render: object) -> Live:
    from rich.console import Console  # noqa: PLC0415 - start-up cost, terminals only
    from rich.live import Live  # noqa: PLC0415

    # the job's own bytes and our own lines go round rich, so it must not stand in for the streams
    return Live(
        get_renderable=render,  # type: ignore[arg-type] # a callable without arguments
        console=Console(stderr=True, highlight=False),
        transient=True,
        refresh_per_second=8,
        redirect_stdout=False,
        redirect_stderr=False,
    )
