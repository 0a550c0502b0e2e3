"""The transport over paramiko, for computers without the OpenSSH binary.

paramiko's own defaults are cured here: host keys are pinned under the instance's name and nothing else is
consulted, no agent and no other key is tried, small packets leave at once, and the end of stdin is sent
before the node can close the channel (one that comes later makes OpenSSH's server drop the whole connection).
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from gpuforge.errors import ConnectError, StateError, TransportError
from gpuforge.models.instance import HostKey
from gpuforge.transport.base import Completed
from gpuforge.transport.commands import check_put, put_argv, render_command
from gpuforge.transport.failures import auth_error, connect_error, host_key_error
from gpuforge.transport.forward import serve_forward
from gpuforge.transport.keys import KEY_FILE, fingerprint
from gpuforge.transport.streams import TAIL_BYTES, split_lines

with warnings.catch_warnings():
    # paramiko names ciphers that cryptography retires; none of them is offered below
    warnings.simplefilter("ignore")
    import paramiko

# its remarks belong to whoever configures logging, not on the user's terminal
logging.getLogger("paramiko").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpuforge.transport.base import Endpoint

__all__ = ["ParamikoTransport"]

# a server allows 10 sessions per connection by default
_PARALLEL_RUNS = 6
_REFUSALS = 4
_REFUSAL_SECONDS = 0.02
_KEEPALIVE_SECONDS = 15
_OPEN_SECONDS = 15.0
_CLOSE_SECONDS = 2.0
_LONG_SECONDS = 3600.0
_WINDOW = 8 * 1024 * 1024
_CHUNK = 256 * 1024
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_KEX = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group16-sha512")


class ParamikoTransport:
    """Implements :class:`gpuforge.transport.base.Transport`.

    Short commands share one connection and streams another, as one stream may fill its connection. A
    connection that allows no further channel is joined by one more; one that is gone is replaced before a
    command is sent.
    """

    def __init__(self, endpoint: Endpoint, *, timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout_seconds
        self._slots = threading.BoundedSemaphore(_PARALLEL_RUNS)
        self._lock = threading.Lock()
        self._short: list[_Connection] = []
        self._bulk: list[_Connection] = []

    @classmethod
    def connect(cls, endpoint: Endpoint, *, timeout_seconds: float) -> ParamikoTransport:
        """A connected one; raises as :func:`gpuforge.transport.ssh.connect`."""
        transport = cls(endpoint, timeout_seconds=timeout_seconds)
        transport._short.append(_Connection(endpoint, timeout_seconds))
        return transport

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = 60
    ) -> Completed:
        """Run ``argv`` and wait; see the port."""
        deadline = time.monotonic() + (_LONG_SECONDS if timeout_seconds is None else timeout_seconds)
        command = render_command(argv, drain_stdin=bool(stdin))
        if not self._slots.acquire(timeout=deadline - time.monotonic()):
            raise ConnectError(f"no free session on {self._endpoint.name} in time")
        try:
            process = self._start(command, self._short, deadline)
            try:
                return process.communicate(stdin, deadline)
            finally:
                process.close()
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def stream(self, argv: Sequence[str]) -> Iterator[_ChannelProcess]:
        """Start ``argv`` with its streams open; see the port."""
        deadline = time.monotonic() + self._timeout + _OPEN_SECONDS
        process = self._start(render_command(argv), self._bulk, deadline)
        process.start_draining()
        try:
            yield process
        finally:
            process.close()

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """Write a small file; see the port."""
        done = self.run(put_argv(path, size=len(data), mode=mode), stdin=data)
        check_put(done, path, node=self._endpoint.name)

    @contextlib.contextmanager
    def forward(self, remote_host: str, remote_port: int) -> Iterator[tuple[str, int]]:
        """A local address that leads to the remote one; see the port."""

        def open_channel() -> _ChannelProcess:
            return self._open(
                self._bulk,
                time.monotonic() + self._timeout,
                lambda transport, seconds: transport.open_channel(
                    "direct-tcpip", (remote_host, remote_port), ("127.0.0.1", 0), timeout=seconds
                ),
                may_add=False,
            )

        with serve_forward(open_channel) as address:
            yield address

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            connections = [*self._short, *self._bulk]
            self._short.clear()
            self._bulk.clear()
        for connection in connections:
            connection.close()

    def _start(self, command: bytes, pool: list[_Connection], deadline: float) -> _ChannelProcess:
        process = self._open(
            pool, deadline, lambda transport, seconds: transport.open_session(_WINDOW, timeout=seconds)
        )
        # exec_command waits for its answer without a limit
        watchdog = threading.Timer(_left(deadline), process.close)
        watchdog.daemon = True
        watchdog.start()
        try:
            process.execute(command)
        except (paramiko.SSHException, EOFError, OSError) as error:
            process.close()
            raise connect_error(self._endpoint, str(error)) from error
        finally:
            watchdog.cancel()
        return process

    def _open(
        self,
        pool: list[_Connection],
        deadline: float,
        opener: Callable[[paramiko.Transport, float], paramiko.Channel],
        *,
        may_add: bool = True,
    ) -> _ChannelProcess:
        """A channel on a connection of the pool; nothing runs before it is open, so this tries again."""
        refused = broken = 0
        while True:
            with self._lock:
                connection = self._usable(pool, deadline)
            try:
                channel = opener(connection.transport, min(_OPEN_SECONDS, _left(deadline)))
            except (paramiko.SSHException, EOFError, OSError) as error:
                # of two threads that are refused at once, only one gets the error that says so
                if connection.transport.is_active() and "Timeout" not in str(error):
                    refused += 1
                else:
                    broken += 1
                    connection.close()
                given_up = refused > 2 * _REFUSALS or broken > 1 or _left(deadline) < 1
                if given_up or (refused and not may_add):
                    raise connect_error(self._endpoint, str(error)) from error
            else:
                return _ChannelProcess(channel, self._endpoint)
            if refused == _REFUSALS:
                with self._lock:
                    pool.insert(0, _Connection(self._endpoint, min(self._timeout, _left(deadline))))
            elif refused:
                # a server frees a session a moment after the channel of its command is closed
                time.sleep(_REFUSAL_SECONDS)

    def _usable(self, pool: list[_Connection], deadline: float) -> _Connection:
        """The pool's first live connection, or a new one; the lock is held."""
        for connection in list(pool):
            if connection.transport.is_active():
                return connection
            connection.close()
            pool.remove(connection)
        pool.append(_Connection(self._endpoint, min(self._timeout, _left(deadline))))
        return pool[-1]


class _Connection:
    """One verified, authenticated connection."""

    def __init__(self, endpoint: Endpoint, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        self._endpoint = endpoint
        self._proxy: subprocess.Popen[bytes] | None = None
        self._client = paramiko.SSHClient()
        self._client.set_missing_host_key_policy(paramiko.RejectPolicy())
        pinned = paramiko.Ed25519Key(data=base64.b64decode(endpoint.host_key.blob))
        self._client.get_host_keys().add(endpoint.alias, endpoint.host_key.kind, pinned)
        try:
            key = paramiko.Ed25519Key.from_private_key_file(str(endpoint.folder / KEY_FILE))
        except (OSError, paramiko.SSHException) as error:
            raise StateError(
                f"the cluster's key in {endpoint.folder} cannot be used", details=str(error)
            ) from error
        try:
            self._log_in(key, deadline)
        except BaseException:
            self.close()
            raise
        transport = self._client.get_transport()
        assert transport is not None  # noqa: S101 - connected
        self.transport: paramiko.Transport = transport
        transport.set_keepalive(_KEEPALIVE_SECONDS)

    def _log_in(self, key: paramiko.PKey, deadline: float) -> None:
        endpoint = self._endpoint
        try:
            sock = self._socket(deadline)
            seconds = _left(deadline)
            self._client.connect(
                hostname=endpoint.alias,
                port=22,  # with another port the pin would be looked up as [alias]:port
                username=endpoint.route.user,
                password=None,
                pkey=key,
                sock=sock,
                allow_agent=False,
                look_for_keys=False,
                compress=False,
                timeout=seconds,
                banner_timeout=seconds,
                auth_timeout=seconds,
                channel_timeout=seconds,
                transport_factory=_transport,  # type: ignore[arg-type] # takes the socket and options
            )
        except paramiko.BadHostKeyException as error:
            offered = HostKey(kind=error.key.get_name(), blob=error.key.get_base64())
            raise host_key_error(endpoint, fingerprint(offered)) from error
        except paramiko.ssh_exception.IncompatiblePeer as error:
            if "host key" in str(error):
                raise host_key_error(endpoint, "") from error
            raise connect_error(endpoint, str(error)) from error
        except paramiko.AuthenticationException as error:
            if "timeout" in str(error).lower():
                raise connect_error(endpoint, str(error)) from error
            raise auth_error(endpoint, str(error)) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if "Signature verification" in str(error):
                raise host_key_error(endpoint, "") from error
            raise connect_error(endpoint, str(error) or type(error).__name__) from error

    def _socket(self, deadline: float) -> socket.socket:
        route = self._endpoint.route
        if route.proxy_command:
            ours, theirs = socket.socketpair()
            with theirs:
                self._proxy = subprocess.Popen(
                    route.proxy_command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    start_new_session=True,
                )
            return ours
        sock = socket.create_connection((route.host, route.port), timeout=_left(deadline))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # paramiko's keepalive asks and never counts the answers: the kernel gives up instead
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3 * _KEEPALIVE_SECONDS * 1000)
        return sock

    def close(self) -> None:
        """End the connection and its proxy."""
        self._client.close()
        if self._proxy is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._proxy.pid, signal.SIGKILL)
            self._proxy.wait()


def _transport(sock: socket.socket, **options: Any) -> paramiko.Transport:
    transport = paramiko.Transport(sock, **options)
    security = transport.get_security_options()
    security.key_types = ("ssh-ed25519",)
    security.ciphers = tuple(name for name in _CIPHERS if name in security.ciphers)
    security.kex = tuple(name for name in _KEX if name in security.kex)
    return transport


class _ChannelProcess:
    """Implements :class:`gpuforge.transport.base.RemoteProcess` over a channel."""

    def __init__(self, channel: paramiko.Channel, endpoint: Endpoint) -> None:
        self._channel = channel
        self._endpoint = endpoint
        self._tail = b""
        self._drainer: threading.Thread | None = None

    def execute(self, command: bytes) -> None:
        """Start the command."""
        self._channel.exec_command(command)
        # set once more when the node closes the channel
        self._channel.event.clear()

    def start_draining(self) -> None:
        """Keep the tail of stderr from now on: both outputs share one window."""
        self._drainer = threading.Thread(target=self._drain, name="gpuforge-stderr", daemon=True)
        self._drainer.start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self._channel.recv_stderr(_CHUNK):
                self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def write(self, data: bytes) -> None:
        """Send to its stdin; see the port."""
        try:
            self._channel.sendall(data)
        except OSError as error:
            raise ConnectError("the command no longer reads its stdin", details=str(error)) from error

    def close_stdin(self) -> None:
        """End of its stdin."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes of stdout; see the port."""
        try:
            return self._channel.recv(size)
        except OSError as error:
            raise ConnectError("the command's stdout is closed", details=str(error)) from error

    def lines(self) -> Iterator[bytes]:
        """Stdout by lines."""
        return split_lines(self)

    def stderr_tail(self) -> bytes:
        """The last 16 KiB of stderr so far."""
        return self._tail

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Its exit code; see the port."""
        if not self._channel.status_event.wait(timeout_seconds):
            raise ConnectError(f"the command did not end in {timeout_seconds or 0:g} s")
        code = self._channel.recv_exit_status()
        if code < 0:
            raise connect_error(self._endpoint, "it broke before the command ended")
        if self._drainer is not None:
            self._drainer.join(1)
        return code

    def communicate(self, stdin: bytes, deadline: float) -> Completed:
        """Send ``stdin``, read both outputs to their ends, and learn the exit code."""
        stderr: list[bytes] = []
        helpers = [
            threading.Thread(target=self._collect, args=(stderr,), daemon=True),
            threading.Thread(target=self._feed, args=(stdin,), daemon=True),
        ]
        if stdin:
            helpers[1].start()
        else:
            self.close_stdin()
        helpers[0].start()
        stdout: list[bytes] = []
        try:
            while True:
                self._channel.settimeout(_left(deadline))
                chunk = self._channel.recv(_CHUNK)
                if not chunk:
                    break
                stdout.append(chunk)
            helpers[0].join(_left(deadline))
            code = self.wait(_left(deadline))
            if not self._channel.closed:
                # the node counts the session until it has closed it itself
                self._channel.event.wait(min(_CLOSE_SECONDS, _left(deadline)))
        except TimeoutError as error:
            raise ConnectError("the command did not end in time") from error
        finally:
            # wakes both helpers, whatever happened
            self._channel.close()
            for helper in helpers:
                if helper.ident is not None:
                    helper.join()
        return Completed(exit_code=code, stdout=b"".join(stdout), stderr=b"".join(stderr))

    def _collect(self, chunks: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while not self._channel.closed or self._channel.recv_stderr_ready():
                with contextlib.suppress(TimeoutError):
                    if not (chunk := self._channel.recv_stderr(_CHUNK)):
                        return
                    chunks.append(chunk)

    def _feed(self, stdin: bytes) -> None:
        with contextlib.suppress(TransportError):
            self.write(stdin)
        self.close_stdin()

    def close(self) -> None:
        """Give the channel up; see the port."""
        self._channel.close()
        if self._drainer is not None:
            self._drainer.join()


def _left(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())
