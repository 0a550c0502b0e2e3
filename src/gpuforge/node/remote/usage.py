"""Who uses this machine: sessions, processes and GPUs at work."""

from __future__ import annotations

import os
import subprocess

from .processes import MARKER, environment_of, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, Tuple

    from .processes import Process


def ours(home: str) -> Iterator[Tuple[Process, Dict[bytes, bytes]]]:
    """Processes of this machine's user: the same HOME, the caller itself left out."""
    wanted = os.fsencode(home)
    for process in processes().values():
        if process.pid != os.getpid():
            environment = environment_of(process.pid)
            if environment.get(b"HOME") == wanted:
                yield process, environment


def session(home: str) -> str:
    """Somebody is logged in, or copies files: an outermost process of an SSH connection, still attached.

    What was left behind by one (tmux, nohup) has no standing input; a job's processes carry a marker.
    """
    for process, environment in ours(home):
        if b"SSH_CONNECTION" not in environment or MARKER.encode() in environment:
            continue
        if b"SSH_CONNECTION" in environment_of(process.parent):
            continue
        if is_attached(process.pid) and not is_our_command(process.pid):
            return "an SSH session"
    return ""


def is_attached(pid: int) -> bool:
    """Whether anybody may still write to the process."""
    try:
        target = os.readlink(f"/proc/{pid}/fd/0")
    except OSError:
        return False
    return target.startswith(("pipe:", "socket:", "/dev/pts/", "/dev/tty"))


def is_our_command(pid: int) -> bool:
    """A look at the machine by this agent is no use of it."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"import agent" in file.read()
    except OSError:
        return False


def gpu_utilisation() -> int:
    """Per cent of the busiest GPU; 0 where there is none."""
    argv = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return max((int(word) for word in done.stdout.split() if word.isdigit()), default=0)
