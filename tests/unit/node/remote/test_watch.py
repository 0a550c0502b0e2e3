"""The start of the watcher: one per node, of the newest agent."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from gpuforge.node.client import NodeClient
from gpuforge.node.remote.watch import loop_command, watcher_loop, watcher_status
from gpuforge.testing.local import LocalTransport
from gpuforge.testing.nodes import eventually


def test_a_second_watcher_ends_at_once(root):
    (Path(root) / "watcher.config.json").write_text("{}")
    lock = os.open(Path(root) / "watcher.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)

    watcher_loop(str(Path(root) / "agent" / "hash"), root, str(Path(root).parent))
    status = watcher_status(root)
    os.close(lock)

    assert status["alive"] is True


def test_the_watcher_runs_as_a_program_of_its_own_from_the_folder_it_was_pushed_to(tmp_path):
    client = NodeClient(LocalTransport(tmp_path, environ={"PATH": os.environ["PATH"]}))
    client.push()
    bundle, root = str(tmp_path / client.folder), tmp_path / ".gpuforge"
    (root / "watcher.config.json").write_text("{}")

    with subprocess.Popen(loop_command(bundle), env={"HOME": str(tmp_path)}, cwd="/") as unit:
        eventually(lambda: watcher_status(str(root))["alive"])
        agent = eventually(lambda: watcher_status(str(root)).get("agent"))
        (root / "watcher.config.json").unlink()

    assert agent == bundle
    assert unit.returncode == 0
