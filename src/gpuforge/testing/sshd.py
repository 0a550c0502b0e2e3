"""Real SSH servers for tests: OpenSSH's ``sshd`` and a small one over asyncssh, each on a free loopback port.

Each serves one home folder to the user who runs the tests, with a host key and authorised keys of its own.
Nothing of the person's SSH configuration is read, and every process of a server ends with its context.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpuforge.models.instance import HostKey, Route
from gpuforge.transport.base import Endpoint
from gpuforge.transport.keys import ensure_key, parse_host_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncssh

__all__ = ["SSHServer", "asyncssh_server", "find_sshd", "openssh_server", "serve"]

_STARTUP_SECONDS = 20.0
_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHServer:
    """A running server.

    Attributes:
        home: What its user sees as home and starting folder.
        folder: Its own files: configuration, keys, log.
    """

    host: str
    port: int
    user: str
    home: Path
    folder: Path
    host_key: HostKey
    pid: int

    @property
    def log(self) -> str:
        """What it logged so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def route(self) -> Route:
        """How to reach it."""
        return Route(host=self.host, port=self.port, user=self.user)

    def authorize(self, public_line: str) -> None:
        """Accept one more key."""
        with (self.folder / "authorized_keys").open("a", encoding="ascii") as file:
            file.write(public_line.strip() + "\n")

    def endpoint(
        self,
        folder: Path,
        *,
        name: str = "gf-test-0",
        route: Route | None = None,
        host_key: HostKey | None = None,
    ) -> Endpoint:
        """An endpoint for a cluster in ``folder``, whose key is made and accepted here."""
        self.authorize(ensure_key(folder))
        return Endpoint(
            name=name,
            alias=f"fake.{name}",
            route=route or self.route,
            host_key=host_key or self.host_key,
            folder=folder,
        )

    def processes(self) -> list[int]:
        """The server and everything below it."""
        return [self.pid, *_descendants(self.pid)]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """As a machine that hangs: its ports are open and nobody answers."""
        pids = self.processes()
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                _signal(pid, signal.SIGCONT)

    def drop_connections(self) -> None:
        """End every live connection, with all that runs in it."""
        for pid in _descendants(self.pid):
            _signal(pid, signal.SIGKILL)


def find_sshd() -> str | None:
    """The absolute path of OpenSSH's server, which needs one."""
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which("sshd", path=os.pathsep.join(folders))


@contextlib.contextmanager
def openssh_server(
    folder: Path, *, host: str = "127.0.0.1", host_key_kind: str = "ed25519", extra: str = ""
) -> Iterator[SSHServer]:
    """OpenSSH's sshd, run as the present user; ``extra`` is appended to its configuration.

    Raises:
        FileNotFoundError: It is not installed.
    """
    program = find_sshd()
    if program is None:
        raise FileNotFoundError("sshd: install openssh-server")
    if os.getuid() == 0:
        _SEPARATION.mkdir(mode=0o755, parents=True, exist_ok=True)
    home = _prepare(folder)
    key = folder / "host_key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", host_key_kind, "-N", "", "-f", str(key)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    # SetEnv alone leaves the starting folder in the passwd home, which the forced command corrects; the
    # forced command alone lets bash read the start-up files of the person's own home, before it runs
    wrapper = folder / "login.sh"
    wrapper.write_text(
        f'#!/bin/sh\nexport HOME={shlex.quote(str(home))}\ncd "$HOME" || exit 1\n'
        'if [ -z "${SSH_ORIGINAL_COMMAND+x}" ]; then exec /bin/bash -l; fi\n'
        'exec /bin/bash -c "$SSH_ORIGINAL_COMMAND"\n',
        encoding="utf-8",
    )
    wrapper.chmod(0o755)
    port = _free_port(host)
    config = folder / "sshd_config"
    config.write_text(
        f'{extra}\nListenAddress {host}:{port}\nHostKey "{key}"\n'
        f'AuthorizedKeysFile "{folder / "authorized_keys"}"\n'
        f'SetEnv "HOME={home}"\n'
        f"ForceCommand {shlex.quote(str(wrapper))}\nPidFile none\nUsePAM no\nStrictModes no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nPrintMotd no\nLogLevel DEBUG1\n"
        "MaxSessions 10\nMaxStartups 200\nAllowTcpForwarding yes\n",
        encoding="utf-8",
    )
    argv = [program, "-D", "-f", str(config), "-E", str(folder / "log")]
    with _running(argv, folder, host, port) as pid:
        yield _server(folder, home, host, port, pid)


@contextlib.contextmanager
def asyncssh_server(folder: Path, *, host: str = "127.0.0.1") -> Iterator[SSHServer]:
    """A server over asyncssh in a process of its own, as simulated machines have."""
    home = _prepare(folder)
    key = folder / "host_key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, stdin=subprocess.DEVNULL
    )
    port = _free_port(host)
    argv = [sys.executable, "-m", "gpuforge.testing.sshd", str(folder), host, str(port)]
    with _running(argv, folder, host, port) as pid:
        yield _server(folder, home, host, port, pid)


@contextlib.contextmanager
def serve(kind: Literal["openssh", "asyncssh"], folder: Path) -> Iterator[SSHServer]:
    """Either kind, by name."""
    with (openssh_server if kind == "openssh" else asyncssh_server)(folder) as server:
        yield server


def _prepare(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir(parents=True)
    (folder / "authorized_keys").touch(mode=0o600)
    (folder / "log").touch()
    return home


def _server(folder: Path, home: Path, host: str, port: int, pid: int) -> SSHServer:
    public = (folder / "host_key.pub").read_text(encoding="ascii")
    # a server with another kind of key has none that could be pinned
    key = parse_host_key(public) if public.startswith("ssh-ed25519 ") else HostKey(kind="", blob="")
    return SSHServer(
        host=host, port=port, user=getpass.getuser(), home=home, folder=folder, host_key=key, pid=pid
    )


@contextlib.contextmanager
def _running(argv: list[str], folder: Path, host: str, port: int) -> Iterator[int]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("SSH_", "LC_"))}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=environ
        )
    try:
        _wait_for_banner(process, folder, host, port)
        yield process.pid
    finally:
        tree = [*_descendants(process.pid), process.pid]
        for pid in tree:
            _signal(pid, signal.SIGKILL)
        process.wait()


def _wait_for_banner(process: subprocess.Popen[bytes], folder: Path, host: str, port: int) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2) as probe:
            if probe.recv(4) == b"SSH-":
                return
        if process.poll() is not None or time.monotonic() > deadline:
            said = [(folder / name).read_text(errors="replace") for name in ("output", "log")]
            raise RuntimeError(f"the SSH server did not start: {' '.join(said)[-2000:]}")
        time.sleep(0.01)


def _free_port(host: str) -> int:
    # below the range that outgoing connections take their ports from
    for _ in range(200):
        port = 20000 + int.from_bytes(os.urandom(2), "big") % 12000
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port
    raise RuntimeError("no free port")


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            after = entry.read_bytes().rpartition(b")")[2].split()
            children.setdefault(int(after[1]), []).append(int(entry.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def _pump_in(process: asyncssh.SSHServerProcess[bytes], writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        while data := await process.stdin.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _pump_out(reader: asyncio.StreamReader, writer: asyncssh.SSHWriter[bytes]) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _handle(process: asyncssh.SSHServerProcess[bytes], home: str) -> None:
    """Run one command with pump tasks of our own: redirecting to a subprocess loses some exit codes."""
    child = await asyncio.create_subprocess_exec(
        "/bin/bash",
        *(["-c", process.command] if process.command else ["-l"]),
        cwd=home,
        env={**os.environ, "HOME": home},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    feeding = asyncio.create_task(_pump_in(process, child.stdin))
    try:
        await asyncio.gather(_pump_out(child.stdout, process.stdout), _pump_out(child.stderr, process.stderr))
        code = await child.wait()
        process.exit(code if code >= 0 else 128 - code)
    except (ConnectionError, BrokenPipeError):
        pass  # the client went: as sshd does, its pipes close and a silent child lives on
    finally:
        feeding.cancel()
        for number in (0, 1, 2):
            transport = child._transport.get_pipe_transport(number)  # type: ignore[attr-defined] # noqa: SLF001
            if transport is not None:
                transport.close()


async def _serve(folder: Path, host: str, port: int) -> None:
    import logging  # noqa: PLC0415 - only in the server's process

    import asyncssh  # noqa: PLC0415 - only in the server's process

    logging.basicConfig(filename=folder / "log", level=logging.DEBUG)
    asyncssh.set_debug_level(1)
    home = str(folder / "home")
    keys = folder / "authorized_keys"

    class Server(asyncssh.SSHServer):
        def __init__(self) -> None:
            self._connection: asyncssh.SSHServerConnection | None = None

        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self._connection = conn

        def begin_auth(self, username: str) -> bool:
            logging.getLogger(__name__).info("userauth-request for user %s", username)
            assert self._connection is not None
            if keys.stat().st_size:
                self._connection.set_authorized_keys(str(keys))
            return True

        def connection_requested(self, *_: object) -> bool:
            return True

    async def factory(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await _handle(process, home)

    server = await asyncssh.create_server(
        Server,
        host,
        port,
        server_host_keys=[str(folder / "host_key")],
        process_factory=factory,
        encoding=None,
        password_auth=False,
        kbdint_auth=False,
    )
    await server.wait_closed()


def main(argv: list[str]) -> None:
    """Run the asyncssh server: folder, host, port."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    asyncio.run(_serve(Path(argv[0]), argv[1], int(argv[2])))


if __name__ == "__main__":
    main(sys.argv[1:])
