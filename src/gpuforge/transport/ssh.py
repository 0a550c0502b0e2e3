"""Connects to a node: over the OpenSSH binary where there is one, over paramiko otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gpuforge.errors import ConnectError

if TYPE_CHECKING:
    from pathlib import Path

    from gpuforge.transport.base import Endpoint, Transport

__all__ = ["Engine", "connect"]

Engine = Literal["auto", "openssh", "paramiko"]


def connect(
    endpoint: Endpoint, *, control_dir: Path, engine: Engine = "auto", timeout_seconds: float = 10
) -> Transport:
    """A verified connection to the node; one try.

    The endpoint's folder holds what :func:`gpuforge.transport.keys.ensure_key` and
    :func:`gpuforge.transport.files.write_cluster_files` wrote.

    Args:
        endpoint: The node and its pinned key.
        control_dir: Where the sockets of kept connections lie.
        engine: ``auto`` takes OpenSSH 8 or later when it is on PATH.
        timeout_seconds: For the whole of it.

    Raises:
        HostKeyError: The node is not who its cloud says; nothing was sent.
        AuthError: It refused the cluster's key.
        ConnectError: Not reached in time.
        StateError: The cluster's files are missing or do not hold the pinned key.
    """
    if engine != "paramiko":
        from gpuforge.transport import openssh  # noqa: PLC0415 - start-up cost

        transport = openssh.OpenSSHTransport(
            endpoint, control_dir=control_dir, timeout_seconds=timeout_seconds
        )
        if transport.is_connected():
            return transport
        if openssh.is_available():
            transport.connect()
            return transport
        if engine == "openssh":
            raise ConnectError(
                "no OpenSSH client of version 8 or later was found",
                resolution="install it, or leave the choice of the engine to gpuforge",
            )
    from gpuforge.transport import paramiko_engine  # noqa: PLC0415 - 400 ms and 30 MB

    return paramiko_engine.ParamikoTransport.connect(endpoint, timeout_seconds=timeout_seconds)
