"""Processes of this machine as /proc shows them, and what a process does to itself to live on alone."""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Set, Tuple

    from .files import Json

# in the environment of everything a job starts: its folder on this node, since the nodes of a gang share
# the job's id, and simulated nodes one computer
MARKER = "GPUFORGE_JOB_FOLDER"

_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "busybox", "fish"}


class Process:
    """One line of /proc."""

    __slots__ = ("cpu", "parent", "pid", "session", "started")

    def __init__(self, pid: int, fields: List[bytes]) -> None:
        self.pid = pid
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.cpu = int(fields[11]) + int(fields[12])
        self.started = int(fields[19])


def processes() -> Dict[int, Process]:
    """Every living process (zombies left out); empty where there is no /proc."""
    found: Dict[int, Process] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields and fields[0] not in (b"Z", b"X"):
            found[int(name)] = Process(int(name), fields)
    return found


def descendants(root: int, table: Optional[Dict[int, Process]] = None) -> List[int]:
    """All living processes below ``root``, parents before children."""
    table = processes() if table is None else table
    children: Dict[int, List[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    ordered = sorted(children.get(root, ()))
    for pid in ordered:  # grows while it is walked
        ordered.extend(sorted(children.get(pid, ())))
    return ordered


def is_shell(pid: int) -> bool:
    """Whether the process runs a shell, also behind a script's own name."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) in _SHELLS
    except OSError:
        return False


def first_programs(root: int) -> Tuple[List[int], List[int]]:
    """The first programs below ``root`` that are no shells, and the shells above them.

    What those programs started (worker processes, data loaders) is left out: it lives until they end.
    """
    table = processes()
    children: Dict[int, List[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    programs: List[int] = []
    shells: List[int] = []
    pending = list(children.get(root, ()))
    while pending:
        pid = pending.pop()
        if is_shell(pid):
            shells.append(pid)
            pending.extend(children.get(pid, ()))
        else:
            programs.append(pid)
    return programs, shells


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def environment_of(pid: int) -> Dict[bytes, bytes]:
    """The environment a process was started with; empty when it is not ours to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            pairs = (item.partition(b"=") for item in file.read().split(b"\0") if item)
            return {name: value for name, _, value in pairs}
    except OSError:
        return {}


def leftovers(folder: str, identity: Json) -> List[int]:
    """Processes of a job whose supervisor is dead: by its marker, or by its session and start."""
    marker, wanted = MARKER.encode(), os.fsencode(folder)
    session, since = identity.get("session"), identity.get("started_ticks", 0)
    found = []
    for process in processes().values():
        if process.pid == os.getpid():
            continue
        in_session = process.session == session and process.started >= since
        if in_session or environment_of(process.pid).get(marker) == wanted:
            found.append(process.pid)
    return found


def become_subreaper() -> None:
    """Orphans below this process become its children (Linux), so that none gets away."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    except (ImportError, OSError, AttributeError):
        return


def detach(log: str, keep: Set[int]) -> None:
    """No descriptor of the session stays: it could not end."""
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(source, target)
    low = 3
    for kept in [*sorted(keep), _last_descriptor()]:
        os.closerange(low, kept)
        low = kept + 1


def _last_descriptor() -> int:
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 65536 if soft < 0 else min(soft, 65536)
