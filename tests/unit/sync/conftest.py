"""A node for copies: the real receiver on the other end of real pipes, in a thread or as a process."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpuforge.errors import ConnectError
from gpuforge.node.client import NodeClient
from gpuforge.node.remote.session import Session
from gpuforge.testing.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class _Pipe:
    """What a transport gives: the near ends of two sockets."""

    def __init__(
        self, stdin: socket.socket, stdout: socket.socket, limit: int | None, lose: int | None
    ) -> None:
        self._stdin, self._stdout, self._left, self._lose = stdin, stdout, limit, lose

    def write(self, data: bytes) -> None:
        try:
            if self._left is not None and len(data) > self._left:
                self._stdin.sendall(data[: self._left])
                self._stdin.shutdown(socket.SHUT_WR)
                raise ConnectError("the line was cut")
            self._stdin.sendall(data)
        except OSError as error:
            raise ConnectError("the process no longer reads") from error
        if self._left is not None:
            self._left -= len(data)

    def close_stdin(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.shutdown(socket.SHUT_WR)

    def read(self, size: int) -> bytes:
        data = self._stdout.recv(size)
        if self._lose is not None:
            self._lose -= len(data)
            if self._lose < 0:
                return b""
        return data

    def stderr_tail(self) -> bytes:
        return b"said on stderr"


class ThreadNode:
    """Runs the receiver in a thread, so that its lines count as covered; ``codes`` are its exits.

    ``cut_after`` ends the connection after so many bytes to the node, ``lose_after`` from it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.codes: list[int] = []
        self.cut_after: int | None = None
        self.lose_after: int | None = None
        home.mkdir(parents=True, exist_ok=True)

    def path(self, *parts: str) -> Path:
        return self.home.joinpath(*parts)

    @contextlib.contextmanager
    def receiver(self, argv: Sequence[str]) -> Iterator[_Pipe]:
        near_in, far_in = socket.socketpair()
        near_out, far_out = socket.socketpair()
        source, target = far_in.makefile("rb"), far_out.makefile("wb")

        def serve() -> None:
            self.codes.append(Session(source, target, str(self.home)).serve())
            for end in (far_in, far_out):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield _Pipe(near_in, near_out, self.cut_after, self.lose_after)
        finally:
            near_in.close()
            near_out.close()
            thread.join(20)
            for stream in (source, target):
                with contextlib.suppress(OSError):
                    stream.close()
            far_in.close()
            far_out.close()


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """The receiver's own process has none."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def node(tmp_path: Path) -> ThreadNode:
    """A node whose home is a folder of the test."""
    return ThreadNode(tmp_path / "node home")


@pytest.fixture
def process_node(tmp_path: Path) -> NodeClient:
    """The same with the real client and a process of its own."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return NodeClient(LocalTransport(tmp_path / "node home", environ={"PATH": path}))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The local folder."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def cluster_folder(tmp_path: Path) -> Path:
    """Where the client remembers."""
    return tmp_path / "cluster"
