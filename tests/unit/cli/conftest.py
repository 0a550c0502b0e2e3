"""The command line in this process and as processes of its own, without machines and with one real one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpuforge.cli.errors import run_and_report
from gpuforge.cli.main import cli
from gpuforge.testing.nodes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BINARY = str(Path(sys.executable).with_name("gpuforge"))
CLUSTER = "dev"


@dataclass(frozen=True)
class Result:
    """How a command line ended and what it wrote where."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The envelope, known to stand alone on stdout."""
        (line,) = self.out.splitlines()
        return envelope(line)

    @property
    def stream(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Events, and the envelope after them."""
        *events, last = self.out.splitlines()
        return [json.loads(event) for event in events], envelope(last)


def envelope(line: str) -> dict[str, Any]:
    document = json.loads(line)
    assert list(document) == ["schema", "ok", "data", "warnings", "error"]
    assert document["schema"] == "gpuforge/1"
    assert document["ok"] == (document["error"] is None)
    return document


@pytest.fixture
def gpuforge(capfd) -> Callable[..., Result]:
    """Run a command line in this process through the real entry."""

    def run(*argv: str) -> Result:
        capfd.readouterr()
        code = run_and_report(cli, list(argv))
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(code, out, err)

    return run


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to stand in, beside the home."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GPUFORGE_FAKE_LATENCY", "0")
    return folder


@pytest.fixture
def no_machines(here, monkeypatch) -> Path:
    """A simulated cloud whose machines are rows: for what never logs in."""
    monkeypatch.setenv("GPUFORGE_FAKE_MACHINES", "none")
    return here


@pytest.fixture(scope="session")
def live_home(tmp_path_factory) -> Iterator[Path]:
    """A home in which one real simulated machine is up; nothing of it is left afterwards."""
    home = tmp_path_factory.mktemp("live")
    environ = clean_environ(home)
    command = [BINARY, "up", "--gpus", "L4:1", "-c", CLUSTER, "--yes"]
    try:
        subprocess.run(command, env=environ, cwd=home, check=True, capture_output=True)
        yield home
    finally:
        down = [BINARY, "down", "--all", "--yes"]
        subprocess.run(down, env=environ, cwd=home, check=False, capture_output=True)
        subprocess.run([BINARY, "fake", "reset", "--yes"], env=environ, check=True, capture_output=True)
    eventually(lambda: not processes_of(home))


@pytest.fixture
def live(live_home, here, monkeypatch) -> Path:
    """The folder to stand in; ``dev`` is up."""
    monkeypatch.setenv("GPUFORGE_HOME", str(live_home))
    return here


def clean_environ(home: Path, **more: str) -> dict[str, str]:
    """The environment of a command of its own: no settings but ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GPUFORGE_", "SSH_A"))}
    return {**kept, "GPUFORGE_HOME": str(home), "GPUFORGE_FAKE_LATENCY": "0", "NO_COLOR": "1", **more}


def processes_of(home: Path) -> list[int]:
    """Every process that was started with this home."""
    mark = f"GPUFORGE_HOME={home}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


@pytest.fixture
def process(here) -> Callable[..., subprocess.Popen[bytes]]:
    """Start a command line as a process, in the home of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*argv: str, **settings: Any) -> subprocess.Popen[bytes]:
        environ = {**os.environ, **settings.pop("env", {})}
        child = subprocess.Popen(
            [BINARY, *argv],
            env=environ,
            stdin=settings.pop("stdin", subprocess.DEVNULL),
            stdout=settings.pop("stdout", subprocess.PIPE),
            stderr=settings.pop("stderr", subprocess.PIPE),
            **settings,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.wait()
        for stream in (child.stdout, child.stderr, child.stdin):
            if stream is not None:
                stream.close()


@pytest.fixture
def terminal(process) -> Callable[..., Result]:
    """Run a command line on a terminal of some width, typing answers to its questions.

    ``once`` is a text and what to do when it has shown.
    """

    def run(*argv: str, width: int = 100, answers=(), once=None, env=None) -> Result:
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        child = process(*argv, stdin=slave, stdout=slave, stderr=slave, env=env or {})
        os.close(slave)
        said, left = b"", list(answers)
        try:
            while True:
                try:
                    piece = os.read(master, 65536)
                except OSError:  # how Linux says that the other end is closed
                    break
                said += piece
                if once is not None and once[0].encode() in said:
                    once[1]()
                    once = None
                if left and (b"[Y/n] " in piece or b"[y/N] " in piece):
                    os.write(master, left.pop(0).encode())
        finally:
            os.close(master)
        return Result(child.wait(60), said.decode().replace("\r\n", "\n"), "")

    return run
