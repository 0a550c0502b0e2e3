"""The transport over the OpenSSH binary: one kept master per node, shared by every process of the user.

The binary makes the connection, checks the host key and moves the bytes; sessions are asked for over its
control socket. A connection of its own per command is the way out when the node allows no further session on
the master.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from gpuforge.errors import ConnectError, StateError
from gpuforge.transport import files, mux
from gpuforge.transport.base import Completed
from gpuforge.transport.commands import check_put, put_argv, render_command
from gpuforge.transport.failures import classify, connect_error
from gpuforge.transport.forward import serve_forward
from gpuforge.transport.streams import StreamProcess, Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gpuforge.errors import TransportError
    from gpuforge.transport.base import Endpoint

__all__ = ["OpenSSHTransport", "is_available"]

_OLDEST = 8
# a server allows 10 sessions per connection by default; the rest is for streams, and for the user's own
_PARALLEL_RUNS = 6
# a session not opened after this is stuck on a dead connection, as after a laptop's sleep
_OPEN_SECONDS = 15.0
# none kept, one that was dying while it was asked, and a new one
_OPENINGS = 3
_LONG_SECONDS = 3600.0
_SSH_FAILED = 255
_EXIT_STATUS = "rtype exit-status"


@functools.cache
def is_available() -> bool:
    """Whether an OpenSSH client of version 8 or later is on PATH."""
    try:
        done = subprocess.run(
            ["ssh", "-V"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError:
        return False
    version = re.match(r"OpenSSH\w*_(\d+)\.", done.stderr + done.stdout)
    return version is not None and int(version.group(1)) >= _OLDEST


class OpenSSHTransport:
    """Implements :class:`gpuforge.transport.base.Transport`.

    Args:
        endpoint: The node; its folder holds ``ssh_config`` and ``known_hosts``.
        control_dir: The folder of the control sockets.
        timeout_seconds: For making a connection.
    """

    def __init__(self, endpoint: Endpoint, *, control_dir: Path, timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._socket = files.control_path(endpoint, control_dir)
        self._timeout = timeout_seconds
        self._slots = threading.BoundedSemaphore(_PARALLEL_RUNS)

    def is_connected(self) -> bool:
        """Whether a master is kept; cheaper than looking for the binary."""
        return mux.is_listening(self._socket)

    def connect(self) -> None:
        """Have a master: the one that is there, or a new one."""
        if not self.is_connected():
            self._start_master(self._timeout)

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = 60
    ) -> Completed:
        """Run ``argv`` and wait; see the port."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        if not self._slots.acquire(timeout=timeout_seconds):
            raise ConnectError(f"no free session on {self._endpoint.name} in {timeout_seconds:g} s")
        try:
            process = self._open(argv, deadline)
            try:
                code, stdout, stderr = process.communicate(stdin, deadline)
            finally:
                process.close()
        finally:
            self._slots.release()
        return Completed(exit_code=code, stdout=stdout, stderr=stderr)

    @contextlib.contextmanager
    def stream(self, argv: Sequence[str]) -> Iterator[StreamProcess]:
        """Start ``argv`` with its streams open; see the port."""
        process = self._open(argv, time.monotonic() + self._timeout + _OPEN_SECONDS)
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

        def open_on_master() -> StreamProcess:
            streams = Streams()
            try:
                session = mux.open_forward(
                    self._socket,
                    remote_host,
                    remote_port,
                    streams.far[:2],
                    timeout_seconds=self._timeout,
                )
            except BaseException:
                streams.close()
                raise
            streams.close_far()
            return StreamProcess(streams, _SessionEnder(session, self._endpoint))

        def open_channel() -> StreamProcess:
            try:
                return self._retried(open_on_master, time.monotonic() + self._timeout + _OPEN_SECONDS)
            except mux.SessionRefusedError as error:
                raise connect_error(self._endpoint, str(error)) from error

        with serve_forward(open_channel) as address:
            yield address

    def close(self) -> None:
        """Nothing: the master is shared, and stays until ``down`` or for ten idle minutes."""

    def _open(self, argv: Sequence[str], deadline: float | None) -> StreamProcess:
        command = render_command(argv)
        try:
            return self._retried(lambda: self._open_on_master(command, deadline), deadline)
        except mux.SessionRefusedError:
            return self._open_alone(argv)

    def _retried(self, opener: Callable[[], StreamProcess], deadline: float | None) -> StreamProcess:
        """Open on the master; on a new one when it is gone or stuck, which it is before anything was run."""
        for attempt in range(_OPENINGS):
            if attempt:
                self._start_master(min(self._timeout, _left(deadline)))
            try:
                return opener()
            except mux.MasterGoneError as error:
                failure: Exception = error
            except mux.OpenTimeoutError as error:
                failure = error
                # ends the session for certain before it is asked for again
                mux.terminate_master(self._socket)
                if _left(deadline) <= 1:
                    break
        raise connect_error(self._endpoint, str(failure)) from failure

    def _open_on_master(self, command: bytes, deadline: float | None) -> StreamProcess:
        streams = Streams()
        try:
            session = mux.open_session(
                self._socket, command, streams.far, timeout_seconds=min(_OPEN_SECONDS, _left(deadline))
            )
        except BaseException:
            streams.close()
            raise
        streams.close_far()
        return StreamProcess(streams, _SessionEnder(session, self._endpoint))

    def _open_alone(self, argv: Sequence[str]) -> StreamProcess:
        """A connection of its own, when the master's node allows no further session."""
        command = os.fsdecode(render_command(argv))
        log, file = files.open_log(self._socket)
        file.close()
        streams = Streams()
        try:
            stdin, stdout, stderr = streams.far
            process = subprocess.Popen(
                [*self._argv(log, "ControlPath=none", "LogLevel=DEBUG1"), command],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except BaseException:
            streams.close()
            log.unlink(missing_ok=True)
            raise
        streams.close_far()
        return StreamProcess(streams, _ProcessEnder(process, log, self._endpoint))

    def _start_master(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        self._check_files()
        files.private_folder(self._socket.parent)
        try:
            with files.master_lock(self._socket, timeout_seconds=timeout_seconds):
                if not mux.is_listening(self._socket):
                    self._log_in(deadline)
        except TimeoutError as error:
            raise connect_error(self._endpoint, str(error)) from error

    def _log_in(self, deadline: float) -> None:
        # A first command that leaves its master behind, not `-N`: should the user's own ssh win the race for
        # the socket, this process ends like any command. Its log is a file: a master holds pipes open.
        log, file = files.open_log(self._socket)
        try:
            with file:
                # at ERROR it would not say that no host key could be agreed on
                options = ("LogLevel=INFO", f"ConnectTimeout={math.ceil(_left(deadline))}")
                process = subprocess.Popen(
                    [*self._argv(log, *options), "true"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=file,  # a proxy command's words
                    start_new_session=True,
                )
            try:
                code = process.wait(_left(deadline))
            except subprocess.TimeoutExpired as error:
                raise connect_error(self._endpoint, f"no answer in {self._timeout:g} s") from error
            finally:
                _kill_group(process)
            if code != 0 and not self.is_connected():
                raise classify(self._endpoint, log.read_text(encoding="utf-8", errors="replace"))
        finally:
            log.unlink(missing_ok=True)

    def _argv(self, log: Path, *options: str) -> list[str]:
        config = self._endpoint.folder / files.CONFIG_FILE
        given = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", str(config), "-T", "-E", str(log), *given, "--", self._endpoint.name]

    def _check_files(self) -> None:
        """The pins on disk are the ones we were given."""
        folder = self._endpoint.folder
        try:
            pins = (folder / files.KNOWN_HOSTS_FILE).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise StateError(f"the SSH files in {folder} cannot be read", details=str(error)) from error
        mine = [line for line in pins if line.split(" ")[0] == self._endpoint.alias]
        if mine != [f"{self._endpoint.alias} {self._endpoint.host_key}"]:
            raise StateError(
                f"{folder / files.KNOWN_HOSTS_FILE} does not hold the pinned key of {self._endpoint.alias}",
                details="\n".join(mine) or "no line for it",
            )


class _SessionEnder:
    """The end of a session on the master."""

    def __init__(self, session: mux.MuxSession, endpoint: Endpoint) -> None:
        self._session = session
        self._endpoint = endpoint

    def wait(self, timeout_seconds: float | None) -> int | None:
        return self._session.wait(timeout_seconds)

    def close(self) -> None:
        self._session.close()

    def failure(self) -> TransportError:
        return connect_error(self._endpoint, "it broke before the command ended")


class _ProcessEnder:
    """The end of an ``ssh`` process of its own.

    Its exit code 255 is the command's only when the node sent an exit status, which the log tells.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path, endpoint: Endpoint) -> None:
        self._process = process
        self._log = log
        self._endpoint = endpoint

    def wait(self, timeout_seconds: float | None) -> int | None:
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        return code if code != _SSH_FAILED or _EXIT_STATUS in self._said() else None

    def close(self) -> None:
        _kill_group(self._process)
        self._log.unlink(missing_ok=True)

    def failure(self) -> TransportError:
        words = [line for line in self._said().splitlines() if not line.startswith("debug")]
        return classify(self._endpoint, "\n".join(words))

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End an ssh that still runs, and its proxy command; it leads a group of its own."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _left(deadline: float | None) -> float:
    return _LONG_SECONDS if deadline is None else max(0.01, deadline - time.monotonic())
