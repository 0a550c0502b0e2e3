"""The cluster's own ``known_hosts`` and ``ssh_config``, and the master connections behind them.

The user's own ``ssh -F <folder>/ssh_config NAME``, rsync and VS Code read the same files as gpuforge does, so
they check the same pinned keys and share the same kept connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gpuforge.errors import StateError
from gpuforge.transport import mux
from gpuforge.transport.keys import KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpuforge.transport.base import Endpoint

__all__ = [
    "CONFIG_FILE",
    "KNOWN_HOSTS_FILE",
    "close_masters",
    "control_path",
    "master_lock",
    "open_log",
    "private_folder",
    "render_known_hosts",
    "render_ssh_config",
    "write_cluster_files",
]

CONFIG_FILE = "ssh_config"
KNOWN_HOSTS_FILE = "known_hosts"

# sun_path holds 104 bytes on macOS; ssh binds to a temporary name 17 bytes longer, then renames
_LONGEST_SOCKET = 104 - 1 - 17

# OpenSSH 8.0 has no `^` to put one in front, so the lists are written out. The first of each is the fast one
# (about 150 ms per new connection against the post-quantum exchange; a quarter more bytes per second).
_CIPHERS = (
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,"
    "aes256-ctr,aes192-ctr,aes128-ctr"
)
_KEX = (
    "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,"
    "diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256"
)
_OPTIONS = (
    ("StrictHostKeyChecking", "yes"),
    ("GlobalKnownHostsFile", "/dev/null"),
    ("CheckHostIP", "no"),
    ("VerifyHostKeyDNS", "no"),
    ("UpdateHostKeys", "no"),
    ("NoHostAuthenticationForLocalhost", "no"),
    ("HostKeyAlgorithms", "ssh-ed25519"),
    ("IdentitiesOnly", "yes"),
    ("IdentityAgent", "none"),
    ("ForwardAgent", "no"),
    ("ForwardX11", "no"),
    ("PasswordAuthentication", "no"),
    ("KbdInteractiveAuthentication", "no"),
    ("BatchMode", "yes"),
    ("PermitLocalCommand", "no"),
    ("ConnectTimeout", "10"),
    ("ServerAliveInterval", "15"),
    ("ServerAliveCountMax", "3"),
    ("ControlMaster", "auto"),
    ("ControlPersist", "600"),
    ("Ciphers", _CIPHERS),
    ("KexAlgorithms", _KEX),
    ("LogLevel", "ERROR"),
)
_WORD = re.compile(r"[A-Za-z0-9._-]+")
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


def write_cluster_files(
    folder: Path,
    endpoints: Sequence[Endpoint],
    *,
    control_dir: Path,
    names: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write ``known_hosts`` and ``ssh_config`` for these nodes, each whole or not at all.

    Args:
        folder: The cluster's folder (0700); its key lies there.
        endpoints: The nodes, head first.
        control_dir: A short private folder for control sockets; made when a connection is.
        names: Friendly ``Host`` names per endpoint name, such as ``{"gf-x-0": ("train", "train-0")}``.

    Raises:
        StateError: A name or path cannot stand in the files, or they cannot be written.
    """
    config = render_ssh_config(folder, endpoints, control_dir=control_dir, names=names or {})
    private_folder(folder)
    # the pins first: a config without them refuses every node, pins without a config do nothing
    _replace(folder / KNOWN_HOSTS_FILE, render_known_hosts(endpoints))
    _replace(folder / CONFIG_FILE, config)


def render_known_hosts(endpoints: Sequence[Endpoint]) -> str:
    """One line per node: ``<provider>.<instance id> ssh-ed25519 AAAA…``."""
    return "".join(f"{_checked(x.alias, _WORD)} {x.host_key}\n" for x in endpoints)


def render_ssh_config(
    folder: Path,
    endpoints: Sequence[Endpoint],
    *,
    control_dir: Path,
    names: Mapping[str, Sequence[str]],
) -> str:
    """The ``ssh_config``: a block per node, then one with what all share.

    Only these names are spoken of, so the file can also be included in the user's own configuration.
    """
    blocks = ["# Written by gpuforge; use it with: ssh -F THIS_FILE NAME\n"]
    everyone: list[str] = []
    for endpoint in endpoints:
        hosts = [_checked(name, _WORD) for name in (endpoint.name, *names.get(endpoint.name, ()))]
        everyone += hosts
        route = endpoint.route
        lines = [
            ("HostName", _checked(route.host, _HOST).replace("%", "%%")),
            ("Port", str(int(route.port))),
            ("User", _checked(route.user, _WORD)),
            ("HostKeyAlias", _checked(endpoint.alias, _WORD)),
            ("ControlPath", _quoted(control_path(endpoint, control_dir))),
        ]
        if route.proxy_command:
            lines.append(("ProxyCommand", _proxy(route.proxy_command)))
        blocks.append(_block(hosts, lines))
    shared = [
        ("UserKnownHostsFile", _quoted(folder / KNOWN_HOSTS_FILE)),
        ("IdentityFile", _quoted(folder / KEY_FILE)),
        *_OPTIONS,
    ]
    if everyone:
        blocks.append(_block(everyone, shared))
    return "\n".join(blocks)


def control_path(endpoint: Endpoint, control_dir: Path) -> Path:
    """The node's control socket.

    Its name holds the folder, the instance, the pinned key and the route, so a master that was opened to
    another machine at the same address is never used for this one.

    Raises:
        StateError: Longer than a socket's path may be.
    """
    route = endpoint.route
    facts = (
        endpoint.alias,
        endpoint.host_key.blob,
        route.host,
        str(route.port),
        route.user,
        *route.proxy_command,
    )
    path = control_dir / f"{_tag(str(endpoint.folder.absolute()))}-{_tag(chr(0).join(facts))}"
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise StateError(
            f"the folder {control_dir} is too long for SSH control sockets",
            details=f"{path} is longer than {_LONGEST_SOCKET} bytes",
            resolution="set XDG_RUNTIME_DIR or TMPDIR to a shorter path",
        )
    return path


def open_log(socket_path: Path) -> tuple[Path, BinaryIO]:
    """A fresh file beside the socket for what an ``ssh`` process says; the caller removes it."""
    path = Path(f"{socket_path}.log-{os.urandom(6).hex()}")
    # appended to: ssh opens it by name as well
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return path, os.fdopen(descriptor, "ab", buffering=0)


@contextlib.contextmanager
def master_lock(socket_path: Path, *, timeout_seconds: float) -> Iterator[None]:
    """One process at a time may start the master of this socket.

    Raises:
        TimeoutError: Another one holds it for longer.
    """
    deadline = time.monotonic() + timeout_seconds
    descriptor = os.open(f"{socket_path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError("another process is connecting to the node") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def close_masters(folder: Path, *, control_dir: Path, timeout_seconds: float = 10) -> None:
    """End every kept connection of the cluster, and return when their processes are gone.

    Raises:
        StateError: A process did not end, or the sockets' folder is not ours.
    """
    tag = _tag(str(folder.absolute()))
    if not control_dir.is_dir():
        return
    _check_private(control_dir)
    sockets = [path for path in sorted(control_dir.glob(f"{tag}-*")) if stat.S_ISSOCK(path.lstat().st_mode)]
    pids: set[int] = set()
    for path in sockets:
        pid = mux.master_pid(path)
        if pid is not None:
            pids.add(pid)
            if not mux.terminate_master(path):
                _signal(pid, signal.SIGTERM)
    # a master whose socket was swept away, or replaced in a race with the user's own ssh, still has its title
    for pid in _titled(f"{control_dir / tag}-"):
        pids.add(pid)
        _signal(pid, signal.SIGTERM)
    _wait_gone(pids, timeout_seconds)
    for path in control_dir.glob(f"{tag}-*"):
        path.unlink(missing_ok=True)


def private_folder(path: Path) -> None:
    """Make the folder (0700), or check that it is ours alone: a shared ``/tmp`` may hold someone else's.

    Raises:
        StateError: It cannot be made, or is not ours.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateError(f"{path} cannot be made", details=str(error)) from error
    _check_private(path)


def _check_private(path: Path) -> None:
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise StateError(f"{path} is not a folder of yours", resolution="remove it, or choose another place")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        path.chmod(0o700)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}-{os.urandom(6).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StateError(f"{path} cannot be written", details=str(error)) from error


def _block(hosts: Sequence[str], lines: Sequence[tuple[str, str]]) -> str:
    return f"Host {' '.join(hosts)}\n" + "".join(f"  {key} {value}\n" for key, value in lines)


def _checked(text: str, allowed: re.Pattern[str]) -> str:
    if not allowed.fullmatch(text) or text.startswith("-"):
        raise StateError(f"{text!r} cannot stand in an ssh_config")
    return text


def _quoted(path: Path) -> str:
    text = str(path.absolute())
    if any(ord(character) < 32 for character in text) or "${" in text:
        raise StateError(
            f"the path {text!r} cannot stand in an ssh_config",
            resolution="set GPUFORGE_HOME to a path without control characters and without ${",
        )
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _proxy(argv: Sequence[str]) -> str:
    text = shlex.join(argv)
    if "\n" in text or "\r" in text or "\0" in text:
        raise StateError("the proxy command holds a line break", details=repr(text))
    return text.replace("%", "%%")


def _tag(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:10]


def _titled(prefix: str) -> Iterator[int]:
    """Masters by the title OpenSSH gives them, ``ssh: <socket> [mux]``; where there is a /proc."""
    wanted = os.fsencode(f"ssh: {prefix}")
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            title = entry.read_bytes().rstrip(b"\0")
            if title.startswith(wanted) and title.endswith(b" [mux]"):
                yield int(entry.parent.name)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_gone(pids: set[int], timeout_seconds: float) -> None:
    started = time.monotonic()
    killed = False
    while left := {pid for pid in pids if _is_running(pid)}:
        waited = time.monotonic() - started
        if waited > timeout_seconds:
            raise StateError(
                "a connection process did not end",
                details=", ".join(f"pid {pid}" for pid in sorted(left)),
                resolution=f"end it with: kill -9 {' '.join(str(pid) for pid in sorted(left))}",
            )
        if waited > timeout_seconds / 2 and not killed:
            killed = True
            for pid in left:
                _signal(pid, signal.SIGKILL)
        time.sleep(0.005)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        # a zombie whose parent does not reap runs no more
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists()
