"""Starting machines and judging them from outside: boot, alive or not, and sweeping what one left behind.

Used by the cloud's core in whatever process calls it; light to import, since every command may.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from gpuforge.errors import ConflictError, ProviderError
from gpuforge.simcloud.machines import environment, processes, specfile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gpuforge.simcloud.machines.link import MachineSpec

__all__ = ["DEFAULT_LINK", "boot", "boot_many", "is_alive", "login_user", "supervisor_environment", "sweep"]

DEFAULT_LINK = "gpuforge.simcloud.link:CloudLink"
_LOCK = "supervisor.lock"
# it finds us by the path in its order: PYTHONPATH is the host's business and stays out of the machine
_SUPERVISOR = (
    "import json, sys; words = sys.stdin.read(); sys.path.extend(json.loads(words)['path']); "
    "from gpuforge.simcloud.machines.supervisor import main; sys.exit(main(words))"
)
_LOCK_PATIENCE_SECONDS = 2.0
_BOOT_PATIENCE_SECONDS = 120

# What a supervisor may know of the process that started it: enough to run Python and to reach a package
# index, nothing that opens a door. A machine's own environment is narrower still (environment.py).
_PASSED = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ",
    "VIRTUAL_ENV", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
_PASSED_PREFIXES = ("COVERAGE_", "PIP_")


def login_user(ssh_server: str, wanted: str) -> str:
    """The name to log in with: OpenSSH's sshd lets in only the account it runs as."""
    return getpass.getuser() if ssh_server == "openssh" else wanted


def supervisor_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment reaches a supervisor: named variables whose value holds no credential.

    Everything on the machine runs as the supervisor's own user and could read its environment.
    """
    return {
        name: value
        for name, value in environ.items()
        if (name in _PASSED or name.startswith(_PASSED_PREFIXES)) and environment.without_credentials(value)
    }


def _take_lock(folder: Path) -> int:
    """The lock a supervisor holds for life, taken before it exists so that it is never seen dead."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > give_up:
                os.close(descriptor)
                raise ConflictError(
                    f"the machine in {folder} already runs", details="its supervisor holds its lock"
                ) from error
            time.sleep(0.02)  # is_alive holds it for an instant
        else:
            return descriptor


def boot(spec: MachineSpec, cloud_folder: Path, *, link: str = DEFAULT_LINK) -> int:
    """Start one machine's supervisor, detached.

    Returns:
        The supervisor's pid; it is alive from now on, its SSH server listens a little later.

    Raises:
        ConflictError: The machine already runs.
        ProviderError: The supervisor could not be started.
    """
    return boot_many([spec], cloud_folder, link=link)[0]


def boot_many(specs: Sequence[MachineSpec], cloud_folder: Path, *, link: str = DEFAULT_LINK) -> list[int]:
    """Start several machines at once: one process imports everything and forks each supervisor.

    Returns:
        One pid per machine, in order.

    Raises:
        ConflictError: One of them already runs; none was started.
        ProviderError: The supervisors could not be started.
    """
    if not specs:
        return []
    with contextlib.ExitStack() as stack:
        machines = []
        locks = []
        for spec in specs:
            spec.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _take_lock(spec.folder)
            stack.callback(os.close, lock)
            specfile.write_spec(spec)
            specfile.new_marker(spec.folder, spec.instance_id)
            locks.append(lock)
            machines.append({"folder": str(spec.folder), "lock": lock})
        order = {"cloud": str(cloud_folder), "link": link, "machines": machines, "path": sys.path}
        words = json.dumps(order)
        return _launch(words, locks, specs[0].folder)


def _launch(words: str, locks: Sequence[int], folder: Path) -> list[int]:
    log = folder / "supervisor.log"
    with log.open("ab") as errors:
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-c",
                _SUPERVISOR,
                "gpuforge-machine",
            ],  # shown by ps
            input=words.encode(),
            stdout=subprocess.PIPE,
            stderr=errors,
            env=supervisor_environment(os.environ),
            cwd=folder,
            pass_fds=locks,
            start_new_session=True,
            timeout=_BOOT_PATIENCE_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise ProviderError(
            "a simulated machine's supervisor did not start",
            details=log.read_text(errors="replace")[-2000:],
            resolution=f"read {log}",
        )
    return [int(pid) for pid in json.loads(done.stdout)]


def is_alive(folder: Path) -> bool:
    """Whether the machine's supervisor lives: it holds a lock that ends with it, whoever has its pid then."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def sweep(folder: Path, instance_id: str) -> int:
    """Kill the machine's supervisor, if it still lives, and every process the machine left.

    Found by the machine's marker in the environment, by ancestry from such a process or from the
    supervisor's guard, and (for OpenSSH's sshd, which overwrites its own environment) by the session recorded
    at its start. Nothing else is touched.

    Returns:
        How many processes were killed.
    """
    count = _kill_supervisor(folder)
    marker = specfile.read_marker(folder, instance_id)
    if marker is None:
        return count
    daemon = specfile.read_record(folder / "sshd.json")
    guard = specfile.read_record(folder / "guard.json")

    def find() -> set[int]:
        table = processes.process_table()
        return processes.marked(table, marker) | _sshd_session(table, daemon) | _guarded(table, guard)

    count += processes.kill_all(find)
    environment.forget_temporary(folder)
    return count


def _kill_supervisor(folder: Path) -> int:
    record = specfile.read_record(folder / "supervisor.json")
    if record is None or not is_alive(folder):
        return 0
    pid, ticks = record
    if processes.start_ticks(pid) != ticks:
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    give_up = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while is_alive(folder) and time.monotonic() < give_up:
        time.sleep(0.01)
    return 1


def _guarded(table: Sequence[processes.Process], guard: tuple[int, str] | None) -> set[int]:
    """What the guard of a dead supervisor has adopted; it ends with the last of it."""
    if guard is None or processes.start_ticks(guard[0]) != guard[1]:
        return set()
    return processes.descendants(table, [guard[0]])


def _sshd_session(table: Sequence[processes.Process], daemon: tuple[int, str] | None) -> set[int]:
    """The sshd processes of one recorded session, with what they started."""
    if daemon is None:
        return set()
    pid, ticks = daemon
    if processes.start_ticks(pid) not in (None, ticks):
        return set()  # the number was given to somebody else
    own = {row.pid for row in table if row.session == pid and row.name.startswith("sshd")}
    return own | processes.descendants(table, own)
