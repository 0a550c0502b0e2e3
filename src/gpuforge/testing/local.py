"""A transport without SSH: commands run on this computer, in a folder that plays the node's home.

For tests of what runs *over* a transport; the transports themselves are tested over real SSH servers.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING

from gpuforge.errors import ConnectError
from gpuforge.transport.base import Completed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["LocalTransport"]

_TAIL = 16 * 1024


class _LocalProcess:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._tail = b""
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        assert self._process.stderr is not None
        while chunk := os.read(self._process.stderr.fileno(), 4096):
            self._tail = (self._tail + chunk)[-_TAIL:]

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise ConnectError("the process no longer reads") from error

    def close_stdin(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        try:
            return os.read(self._process.stdout.fileno(), size)
        except (OSError, ValueError) as error:  # closed from another thread
            raise ConnectError("the command's stdout is closed") from error

    def lines(self) -> Iterator[bytes]:
        buffer = b""
        while chunk := self.read(65536):
            buffer += chunk
            *whole, buffer = buffer.split(b"\n")
            for line in whole:
                yield line + b"\n"
        if buffer:
            yield buffer

    def stderr_tail(self) -> bytes:
        return self._tail

    def wait(self, timeout_seconds: float | None = None) -> int:
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise ConnectError("the command did not end in time") from error
        self._reader.join(1)
        return code

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError, OSError):
                    stream.close()
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._reader.join(1)
        if self._process.stderr is not None:
            self._process.stderr.close()


class LocalTransport:
    """Implements :class:`gpuforge.transport.base.Transport` with ``home`` as HOME and working directory."""

    def __init__(self, home: Path, *, environ: Mapping[str, str] | None = None) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self._environ = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "TMPDIR": tempfile.gettempdir(),
            "USER": "ubuntu",
            "LANG": "C.UTF-8",
            **(environ or {}),
        }

    def _popen(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        # a real SSH server runs the user's shell, so `~` and quoting behave as there
        import shlex  # noqa: PLC0415

        return subprocess.Popen(
            ["/bin/bash", "-c", shlex.join(argv)],
            cwd=self.home,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = 60
    ) -> Completed:
        process = self._popen(argv)
        try:
            out, err = process.communicate(stdin, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise ConnectError("the command did not end in time") from error
        return Completed(exit_code=process.returncode, stdout=out, stderr=err)

    @contextlib.contextmanager
    def stream(self, argv: Sequence[str]) -> Iterator[_LocalProcess]:
        process = _LocalProcess(self._popen(argv))
        try:
            yield process
        finally:
            process.close()

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        target = self.home / path
        temporary = target.with_name(target.name + ".tmp")
        temporary.write_bytes(data)
        temporary.chmod(mode)
        temporary.replace(target)

    @contextlib.contextmanager
    def forward(self, remote_host: str, remote_port: int) -> Iterator[tuple[str, int]]:
        yield remote_host, remote_port

    def close(self) -> None:
        return
