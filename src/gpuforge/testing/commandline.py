"""The real command line as processes with a home of their own, and the proof that nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuforge.state.paths import Paths
from gpuforge.testing.nodes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CommandLine", "Done", "Running", "command_line"]

_STRAY = ("GPUFORGE_", "GOOGLE_", "AWS_", "CLOUDSDK_", "SSH_A")
_BINARY = Path(sys.executable).with_name("gpuforge")
_LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended.

    Attributes:
        code: Its exit code; negative for the signal that ended it.
    """

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The envelope of a ``--json`` answer: the last line of stdout."""
        value: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        assert {"schema", "ok", "data", "warnings", "error"} <= value.keys(), value
        return value

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every object of a ``--json`` stream, the envelope excepted."""
        return [json.loads(line) for line in self.out.splitlines()[:-1]]

    def ok(self) -> Done:
        """Itself, after it is known to have exited with 0."""
        assert self.code == 0, f"{self}"
        return self

    def refused(self, code: int, *words: str) -> Done:
        """Itself, after it is known to have exited with ``code``, saying ``words`` and no traceback."""
        said = self.out + self.err
        assert self.code == code, f"{self}"
        assert "Traceback" not in said, f"{self}"
        assert [word for word in words if word not in said] == [], f"{self}"
        return self

    def __str__(self) -> str:
        return f"gpuforge {' '.join(self.words)} → {self.code}\n{self.out}\n{self.err}"


class Running:
    """A command that has not ended yet; its output goes to files, so that it never blocks on us."""

    def __init__(self, words: tuple[str, ...], process: subprocess.Popen[bytes], folder: Path) -> None:
        self._words = words
        self._process = process
        self._folder = folder

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def out(self) -> str:
        """What it wrote to stdout until now."""
        return (self._folder / "out").read_text(errors="replace")

    @property
    def err(self) -> str:
        """What it wrote to stderr until now."""
        return (self._folder / "err").read_text(errors="replace")

    def until(self, *texts: str) -> None:
        """Wait for it to say one of ``texts`` on either stream."""

        def said() -> bool:
            whole = self.out + self.err
            assert any(text in whole for text in texts) or self._process.poll() is None, whole
            return any(text in whole for text in texts)

        eventually(said, seconds=60)

    def send(self, number: int) -> None:
        """A signal."""
        self._process.send_signal(number)

    def kill(self) -> Done:
        """``kill -9`` of the client alone."""
        self._process.kill()
        return self.wait()

    def wait(self, seconds: float = _LIMIT_SECONDS) -> Done:
        """Its end."""
        code = self._process.wait(seconds)
        return Done(words=self._words, code=code, out=self.out, err=self.err)

    @property
    def has_ended(self) -> bool:
        """Whether it did."""
        return self._process.poll() is not None


class CommandLine:
    """Runs ``gpuforge`` with a home, a working directory and an environment of its own.

    Args:
        base: Everything lies below it.
        environ: Goes over what the caller's environment holds.
    """

    def __init__(self, base: Path, environ: Mapping[str, str] | None = None) -> None:
        self.base = base
        self.home = base / "gf"
        self.folder = base / "project"
        self.folder.mkdir(parents=True)
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(_STRAY)}
        self.environ |= {
            "GPUFORGE_HOME": str(self.home),
            "GPUFORGE_FAKE_LATENCY": "0",
            "HOME": str(base),
            "NO_COLOR": "1",
            **(environ or {}),
        }
        self.paths = Paths.from_environment(self.environ)
        self._started: list[Running] = []

    def __call__(
        self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str = ""
    ) -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            [str(_BINARY), *words],
            env={**self.environ, **(env or {})},
            cwd=cwd or self.folder,
            input=stdin.encode(),
            capture_output=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Done(words=words, code=done.returncode, out=out, err=err)

    def start(self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Running:
        """Start a command, in a session of its own."""
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.base))
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [str(_BINARY), *words],
                env={**self.environ, **(env or {})},
                cwd=cwd or self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        running = Running(words, process, folder)
        self._started.append(running)
        return running

    def write(self, name: str, text: str) -> Path:
        """A file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def machines(self) -> list[Path]:
        """Folders of the simulated machines that there are; their HOME is ``home`` below."""
        return sorted((self.paths.simcloud / "machines").glob("*"))

    def machine(self) -> Path:
        """The folder of the only machine."""
        (only,) = self.machines()
        return only

    def supervisor(self, machine: Path | None = None) -> int:
        """The pid of a machine's supervisor."""
        record = json.loads(((machine or self.machine()) / "supervisor.json").read_text())
        return int(record["pid"])

    def processes(self) -> dict[int, str]:
        """Every process that belongs to this home: by environment, command line, folder or open files."""
        marks = [os.fsencode(self.home), os.fsencode(self.paths.sockets)]
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                told = _told_by(entry)
                if told and any(mark in told for mark in marks):
                    found[int(entry.name)] = _words(entry)
        return found

    def no_process_is_left(self) -> None:
        """Every process of this home ends by itself, soon."""
        give_up = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert left == {}

    def nothing_is_left(self) -> None:
        """No process of this home lives, and neither machine nor control socket is there."""
        self.no_process_is_left()
        assert self.machines() == []
        sockets = self.paths.sockets
        assert not sockets.exists() or list(sockets.iterdir()) == []

    def close(self) -> None:
        """End whatever is left, without asking."""
        for running in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGCONT)
            if not running.has_ended:
                running.kill()
        give_up = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < give_up:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def _told_by(entry: Path) -> bytes:
    """What /proc says of one live process, all of it in one piece."""
    parts = []
    try:
        if entry.joinpath("stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z":
            return b""
        parts = [entry.joinpath(name).read_bytes() for name in ("environ", "cmdline")]
        parts += [os.fsencode((entry / "cwd").readlink())]
        parts += [os.fsencode(link.readlink()) for link in (entry / "fd").iterdir()]
    except OSError:
        pass  # it ended meanwhile, or is somebody else's
    return b"\0".join(parts)


def _words(entry: Path) -> str:
    with contextlib.suppress(OSError):
        return entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


@contextlib.contextmanager
def command_line(base: Path, environ: Mapping[str, str] | None = None) -> Iterator[CommandLine]:
    """A command line whose test must leave nothing: asserted at the end, then made sure of.

    Args:
        base: Everything lies below it.
        environ: Goes over what the caller's environment holds.
    """
    cli = CommandLine(base, environ)
    try:
        yield cli
        cli.nothing_is_left()
    finally:
        cli.close()
