"""The watcher's start and its status: at most one lives per node, that of the newest agent."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

from .files import AgentError, read_json, write_json
from .processes import detach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from .files import Json


def watch(bundle: str, root: str, home: str, config: Json) -> Json:
    """Start the watcher, or hand the one that runs its new configuration. Returns its status."""
    os.makedirs(root, 0o700, exist_ok=True)
    write_json(os.path.join(root, "watcher.config.json"), dict(config, agent=bundle))
    give_up = time.monotonic() + 10
    while not _has_watcher(bundle, root):
        if time.monotonic() > give_up:
            raise AgentError("watcher", "the watcher did not start")
        _start_watcher(bundle, root, home)
    return watcher_status(root)


def _has_watcher(bundle: str, root: str) -> bool:
    """A watcher of this very agent runs."""
    status = watcher_status(root)
    return bool(status["alive"]) and status.get("agent") == bundle


def _start_watcher(bundle: str, root: str, home: str) -> None:
    waited = 0.0
    while watcher_status(root)["alive"] and waited < 5:
        time.sleep(0.05)  # the older one steps down by itself
        waited += 0.05
    if not _start_unit(bundle, home):
        _start_detached(bundle, root, home)
    for _ in range(60):
        if _has_watcher(bundle, root):
            return
        time.sleep(0.05)


def _start_unit(bundle: str, home: str) -> bool:
    """As a system unit, where systemd runs the machine: it outlives every login."""
    import subprocess

    try:
        with open("/proc/1/comm", encoding="ascii") as file:
            if file.read().strip() != "systemd":
                return False
    except OSError:
        return False
    names = [name for name in ("PATH", "GCE_METADATA_HOST") if name in os.environ]
    settings = [f"--setenv={name}={os.environ[name]}" for name in names]
    argv = ["sudo", "-n", "systemd-run", "--collect", f"--uid={os.getuid()}", f"--setenv=HOME={home}"]
    argv += [*settings, *loop_command(bundle)]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def loop_command(bundle: str) -> List[str]:
    """The watcher as a program of its own."""
    setup = "import sys; folder = sys.argv.pop(1); sys.path.append(folder)"
    call = f"{setup}; from gpuforge_node import agent; agent.run(folder)"
    return [sys.executable, "-I", "-S", "-c", call, bundle, "watcher-loop"]


def _start_detached(bundle: str, root: str, home: str) -> None:
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    detach(os.path.join(root, "watcher.log"), keep=set())
    for name in [name for name in os.environ if name.startswith("SSH_")]:
        del os.environ[name]
    watcher_loop(bundle, root, home)
    sys.exit(0)


def watcher_loop(bundle: str, root: str, home: str) -> None:
    """The watcher's process: at most one lives per node."""
    from .watcher import Watcher

    lock = os.open(os.path.join(root, "watcher.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return
    os.ftruncate(lock, 0)
    os.write(lock, bundle.encode())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Watcher(bundle, root, home).live()
    os.close(lock)


def watcher_status(root: str) -> Json:
    """What the watcher last wrote, and whether it lives."""
    status = read_json(os.path.join(root, "watcher.json")) or {}
    status["alive"] = False
    try:
        lock = os.open(os.path.join(root, "watcher.lock"), os.O_RDONLY)
    except FileNotFoundError:
        return status
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        status["alive"] = True
        status["agent"] = os.pread(lock, 4096, 0).decode(errors="replace")
    finally:
        os.close(lock)
    return status
