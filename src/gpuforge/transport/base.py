"""The transport port: one verified connection to one node, on which commands and streams run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from gpuforge.models.instance import HostKey, Route

__all__ = ["Completed", "Endpoint", "RemoteProcess", "Transport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Everything needed to reach one node and know that it is the right one.

    Attributes:
        name: The instance's name: its ``Host`` in the cluster's ``ssh_config``.
        alias: ``<provider>.<instance id>``: the name its host key is pinned under.
        folder: The cluster's folder: ``id_ed25519``, ``known_hosts`` and ``ssh_config`` lie there.
    """

    name: str
    alias: str
    route: Route
    host_key: HostKey
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A finished command."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class RemoteProcess(Protocol):
    """A running command with its three streams; closing it ends the channel, not a detached child."""

    def write(self, data: bytes) -> None:
        """Send to its stdin; blocks while the other side is full.

        Raises:
            ConnectError: The connection is gone.
        """
        ...

    def close_stdin(self) -> None:
        """End of its stdin."""
        ...

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes of stdout as soon as any are there; ``b""`` at its end."""
        ...

    def lines(self) -> Iterator[bytes]:
        """Stdout by lines, newline kept."""
        ...

    def stderr_tail(self) -> bytes:
        """The last 16 KiB of its stderr so far; never blocks."""
        ...

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Its exit code.

        Raises:
            ConnectError: The connection went before the exit code came, or the time was up.
        """
        ...

    def close(self) -> None:
        """Give the channel up."""
        ...


class Transport(Protocol):
    """One connection to one node; usable from several threads."""

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = 60
    ) -> Completed:
        """Run ``argv`` (quoted here, never by the caller) and wait.

        Raises:
            HostKeyError: The node is not who its cloud says; nothing was sent.
            AuthError, ConnectError: Refused, or not reached in time.
        """
        ...

    def stream(self, argv: Sequence[str]) -> AbstractContextManager[RemoteProcess]:
        """Start ``argv`` with its streams open; leaving the context closes the channel."""
        ...

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """Write a small file, whole or not at all (temporary name, then rename).

        ``path`` is relative to the home, or absolute.
        """
        ...

    def forward(self, remote_host: str, remote_port: int) -> AbstractContextManager[tuple[str, int]]:
        """A local (host, port) that leads to ``remote_host:remote_port`` as the node sees it."""
        ...

    def close(self) -> None:
        """Close what this object opened; a shared master connection stays until ``down``."""
        ...
