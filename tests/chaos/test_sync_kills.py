"""Either end of a push killed with SIGKILL: the next push ends complete and exact, nothing is left over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpuforge.errors import ConnectError
from gpuforge.node.client import NodeClient
from gpuforge.sync.push import Root, push
from gpuforge.testing.local import LocalTransport

pytestmark = pytest.mark.chaos

# kills itself, or the receiver, once so many bytes were written
_DRIVER = """\
import os, signal, sys
from pathlib import Path
from gpuforge.node.client import NodeClient
from gpuforge.sync.push import Root, push
from gpuforge.testing.local import LocalTransport
home, source, folder, path, offset = sys.argv[1:]
node = NodeClient(LocalTransport(Path(home), environ={"PATH": path}))
def step(step):
    if step.current >= int(offset):
        os.kill(os.getpid(), signal.SIGKILL)
push(node, [Root(local=Path(source), remote="workdir")], folder=Path(folder), progress=step)
"""
_SEEDS = [11, 12, 13, 14, 15]
_LARGE = 6_000_000


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    draw = random.Random(5)  # noqa: S311 - a seed, not a secret
    for index in range(60):
        path = folder / f"class {index % 3}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.randbytes(draw.randint(1, 60_000)))
    (folder / "weights").write_bytes(draw.randbytes(_LARGE))
    (folder / "zlast").write_bytes(draw.randbytes(2_000_000))
    return folder


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def receivers(home: Path) -> list[int]:
    """Processes that run in this node's home."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if f"HOME={home}\0".encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
    return found


def wait_until_gone(home: Path) -> None:
    until = time.monotonic() + 20
    while receivers(home):
        assert time.monotonic() < until, "a receiver outlived its client"
        time.sleep(0.02)


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_client_killed_at_any_offset_leaves_what_the_next_push_completes(seed, source, tmp_path):
    home, folder = tmp_path / "home", tmp_path / "cluster"
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    size = sum(len(data) for data in contents(source).values())
    offset = random.Random(seed).randrange(1, size)  # noqa: S311
    argv = [sys.executable, "-c", _DRIVER, str(home), str(source), str(folder), path, str(offset)]
    killed = subprocess.run(argv, check=False, env={**os.environ, "HOME": str(tmp_path)})
    assert killed.returncode == -signal.SIGKILL
    wait_until_gone(home)
    there = contents(home / "workdir")
    assert all(contents(source)[name] == data for name, data in there.items())

    node = NodeClient(LocalTransport(home, environ={"PATH": path}))
    (report,) = push(node, [Root(local=source, remote="workdir")], folder=folder)
    assert contents(home / "workdir") == contents(source)
    assert report.sent_files == len(contents(source)) - len(there)
    assert not list(home.rglob("*.part"))
    assert not list(home.rglob("*.pending"))


def test_a_receiver_killed_in_the_middle_leaves_a_temporary_file_that_the_next_push_removes(source, tmp_path):
    home, folder = tmp_path / "home", tmp_path / "cluster"
    node = NodeClient(LocalTransport(home, environ={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}))
    roots = [Root(local=source, remote="workdir")]

    def kill_in_the_large_file(step) -> None:
        if step.current > 4_000_000:  # the stream stands still here, so the receiver waits for the rest
            until = time.monotonic() + 20
            while receivers(home) and not any(
                path.stat().st_size > 1_000_000 for path in home.rglob("*.part")
            ):
                assert time.monotonic() < until, "the receiver never came to the large file"
                time.sleep(0.01)
            for process in receivers(home):
                os.kill(process, signal.SIGKILL)

    with pytest.raises(ConnectError, match="lost during the copy"):
        push(node, roots, folder=folder, progress=kill_in_the_large_file)
    wait_until_gone(home)
    assert list(home.rglob("*.part"))
    push(node, roots, folder=folder)
    assert contents(home / "workdir") == contents(source)
    assert not list(home.rglob("*.part"))
