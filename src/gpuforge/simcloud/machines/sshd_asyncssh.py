"""The default SSH server of a simulated machine: asyncssh, behaving as OpenSSH's sshd does.

Commands, terminals, SFTP (scp, rsync), forwards both ways. Where the two could differ, sshd is the model: a
lost connection hangs up a terminal and closes pipes, but lets a silent command live.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import errno
import fcntl
import os
import pty
import signal
import struct
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from gpuforge.simcloud.machines import forwards
from gpuforge.simcloud.machines.sftp import MachineSFTP, lies_inside

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from gpuforge.simcloud.machines.children import Child, Children

__all__ = ["AsyncSSHServer"]

_CHUNK = 256 * 1024
_KEEPALIVE_SECONDS = 30
_LOOPBACK = {"localhost", "127.0.0.1", "::1", ""}
# what sshd lets a client bring along by default
_ACCEPTED = ("LANG", "LC_", "COLORTERM", "NO_COLOR")
_GONE = (OSError, asyncssh.Error)


class AsyncSSHServer:
    """One machine's SSH server.

    Args:
        user: The only name that may log in.
        public_keys: The only keys, in OpenSSH's one-line form.
        environ: The whole environment of a command.
    """

    def __init__(
        self,
        *,
        user: str,
        public_keys: tuple[str, ...],
        host_key: asyncssh.SSHKey,
        environ: Mapping[str, str],
        home: Path,
        folder: Path,
        children: Children,
    ) -> None:
        self._user = user
        self._keys = [asyncssh.import_public_key(line) for line in public_keys]
        self._host_key = host_key
        self.environ = environ
        self.home = home
        self.folder = folder
        self.children = children
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Serve on a bound, listening socket."""
        self._acceptor = await asyncssh.listen(
            sock=sock,
            server_factory=lambda: _Gate(self),
            server_host_keys=[self._host_key],
            process_factory=self._serve,
            sftp_factory=lambda channel: MachineSFTP(channel, home=self.home, folder=self.folder),
            encoding=None,
            line_editor=False,
            allow_scp=False,
            agent_forwarding=False,
            x11_forwarding=False,
            gss_host=None,
            keepalive_interval=_KEEPALIVE_SECONDS,
        )

    def close(self) -> None:
        """Stop listening and drop every connection, as a power cut does."""
        if self._acceptor is not None:
            self._acceptor.close()
        for connection in list(self._connections):
            connection.abort()

    def admits(self, user: str, key: asyncssh.SSHKey) -> bool:
        """Whether this name with this key may log in."""
        return user == self._user and key in self._keys

    def joined(self, connection: asyncssh.SSHServerConnection) -> None:
        """A connection came."""
        self._connections.add(connection)

    def left(self, connection: asyncssh.SSHServerConnection) -> None:
        """A connection went."""
        self._connections.discard(connection)

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        if process.subsystem is not None:
            process.stderr.write(f"no such subsystem: {process.subsystem}\n".encode())
            process.exit(127)
            return
        session = _Terminal(self, process) if process.term_type is not None else _Pipes(self, process)
        try:
            await session.run()
        except OSError as error:
            with contextlib.suppress(*_GONE):
                process.stderr.write(f"cannot start the command: {error.strerror}\n".encode())
                process.exit(255)


class _Gate(asyncssh.SSHServer):
    """Who gets in, and what a connection may ask for besides commands."""

    def __init__(self, server: AsyncSSHServer) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server.joined(conn)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's signature
        if self._connection is not None:
            self._server.left(self._connection)

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - everybody has to
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._server.admits(username, key)

    def connection_requested(self, dest_host: str, dest_port: int, *_origin: object) -> Any:
        own = self._server.environ["GPUFORGE_HOST"]
        # to the machine's own address first: its neighbours share the loopback device
        hosts = [own, "127.0.0.1"] if dest_host in _LOOPBACK else [dest_host]
        return forwards.open_tcp(hosts, dest_port)

    def unix_connection_requested(self, dest_path: str) -> Any:
        # a socket of the host (Docker, an SSH agent) is not the machine's
        if not lies_inside(dest_path, self._server.folder, follow=True):
            return False
        return forwards.open_unix(Path(dest_path))

    def server_requested(self, listen_host: str, listen_port: int) -> Any:
        if self._connection is None:
            return False
        address = self._server.environ["GPUFORGE_HOST"]
        host = address if listen_host in {*_LOOPBACK, "*", "0.0.0.0", "::"} else listen_host  # noqa: S104 - replaced
        return self._connection.forward_local_port(host, listen_port, listen_host, listen_port)

    def unix_server_requested(self, listen_path: str) -> bool:
        return lies_inside(listen_path, self._server.folder, follow=True)


class _Session(abc.ABC):
    """One command with its streams; the two kinds differ in what the streams are."""

    def __init__(self, server: AsyncSSHServer, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self._server = server
        self._process = process
        self._loop = asyncio.get_running_loop()

    def _command(self) -> tuple[list[str], str]:
        command = self._process.command
        if command is None:
            return ["-bash"], "/bin/bash"  # a login shell
        return ["bash", "-c", command], "/bin/bash"

    def _environ(self) -> dict[str, str]:
        peer = self._process.get_extra_info("peername") or ("", 0)
        own = self._process.get_extra_info("sockname") or ("", 0)
        sent = {name: value for name, value in self._process.env.items() if name.startswith(_ACCEPTED)}
        return {
            **self._server.environ,
            **sent,
            "SSH_CLIENT": f"{peer[0]} {peer[1]} {own[1]}",
            "SSH_CONNECTION": f"{peer[0]} {peer[1]} {own[0]} {own[1]}",
        }

    @abc.abstractmethod
    async def run(self) -> None:
        """Run the command until it ended, or nobody listens any more."""

    async def _until_ended(
        self, child: Child, outputs: list[asyncio.Task[None]], inputs: asyncio.Task[None]
    ) -> None:
        """Give the exit code back once the command ended and its output is out; stop if nobody listens."""

        async def all_done() -> int:
            await asyncio.gather(*outputs)
            return await child.ended

        done = asyncio.ensure_future(all_done())
        closed = asyncio.ensure_future(self._process.wait_closed())
        try:
            await asyncio.wait({done, closed}, return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                self._report(done.result())
        finally:
            tasks = [done, closed, inputs, *outputs]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _report(self, code: int) -> None:
        with contextlib.suppress(*_GONE):
            if code >= 0:
                self._process.exit(code)
            else:
                self._process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))

    async def _pump_out(self, descriptor: int, writer: asyncssh.SSHWriter[bytes]) -> None:
        while True:
            try:
                data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                await _ready(descriptor, self._loop.add_reader, self._loop.remove_reader)
                continue
            except OSError as error:
                if error.errno != errno.EIO:  # a terminal whose last user left
                    raise
                return
            if not data:
                return
            writer.write(data)
            with contextlib.suppress(*_GONE):
                await writer.drain()
            await asyncio.sleep(0)  # a chatty command must not starve its neighbours

    async def _pump_in(self, descriptor: int, pid: int) -> None:
        """From the client to the command; also the signals and sizes that arrive between the bytes."""
        while True:
            try:
                data = await self._process.stdin.read(_CHUNK)
            except asyncssh.TerminalSizeChanged as change:
                self._resized(change)
                continue
            except asyncssh.SignalReceived as sent:
                _signal_group(pid, sent.signal)
                continue
            except asyncssh.BreakReceived:
                continue
            except _GONE:
                return
            if not data:
                return
            if not await self._write(descriptor, data):
                return

    async def _write(self, descriptor: int, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                await _ready(descriptor, self._loop.add_writer, self._loop.remove_writer)
            except OSError:
                return False  # the command reads no more
        return True

    def _resized(self, change: asyncssh.TerminalSizeChanged) -> None:  # noqa: B027 - pipes have no size
        """The client's window changed."""


class _Pipes(_Session):
    """A command without a terminal."""

    async def run(self) -> None:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            read_in, write_in = _pipe(theirs, None)
            read_out, write_out = _pipe(ours, theirs)
            read_err, write_err = _pipe(ours, theirs)
            feed = _Descriptor(write_in)
            ours.callback(feed.close)
            argv, executable = self._command()
            child = self._server.children.start(
                argv,
                executable=executable,
                environ=self._environ(),
                folder=_existing(self._server.home),
                stdin=read_in,
                stdout=write_out,
                stderr=write_err,
            )
            theirs.close()
            outputs = [
                asyncio.create_task(self._pump_out(read_out, self._process.stdout)),
                asyncio.create_task(self._pump_out(read_err, self._process.stderr)),
            ]
            inputs = asyncio.create_task(self._feed(feed, child.pid))
            await self._until_ended(child, outputs, inputs)

    async def _feed(self, feed: _Descriptor, pid: int) -> None:
        try:
            await self._pump_in(feed.number, pid)
        finally:
            feed.close()  # the command sees the end of its input


class _Terminal(_Session):
    """A command on a terminal of its own."""

    _master = -1

    async def run(self) -> None:
        master, slave = pty.openpty()
        with contextlib.ExitStack() as ours:
            ours.callback(os.close, master)
            try:
                self._master = master
                os.set_blocking(master, False)
                _set_size(master, self._process.term_size)
                argv, executable = self._command()
                environ = self._environ() | {
                    "TERM": self._process.term_type or "xterm",
                    "SSH_TTY": os.ttyname(slave),
                }
                child = self._server.children.start(
                    argv,
                    executable=executable,
                    environ=environ,
                    folder=_existing(self._server.home),
                    stdin=slave,
                    stdout=slave,
                    stderr=slave,
                    terminal=True,
                )
            finally:
                os.close(slave)
            outputs = [asyncio.create_task(self._pump_out(master, self._process.stdout))]
            inputs = asyncio.create_task(self._pump_in(master, child.pid))
            await self._until_ended(child, outputs, inputs)

    def _resized(self, change: asyncssh.TerminalSizeChanged) -> None:
        with contextlib.suppress(OSError):
            _set_size(self._master, change.term_size)


class _Descriptor:
    """A file descriptor that is closed once."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack | None) -> tuple[int, int]:
    """A pipe whose ends close with their stacks; our end does not block."""
    read_end, write_end = os.pipe()
    reader.callback(os.close, read_end)
    if writer is None:
        os.set_blocking(write_end, False)
    else:
        writer.callback(os.close, write_end)
        os.set_blocking(read_end, False)
    return read_end, write_end


def _existing(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)  # a command may have removed it
    return home


def _set_size(descriptor: int, size: tuple[int, int, int, int]) -> None:
    columns, rows, width, height = size
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


def _signal_group(pid: int, name: str) -> None:
    number = getattr(signal, f"SIG{name}", None)
    if isinstance(number, signal.Signals):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)


async def _ready(descriptor: int, add: Callable[..., object], remove: Callable[[int], object]) -> None:
    """Wait until the descriptor can be read or written."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    add(descriptor, settle)
    try:
        await future
    finally:
        remove(descriptor)
