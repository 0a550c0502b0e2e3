"""What is special to the paramiko engine: its cures, and connections of its own."""

from __future__ import annotations

import socket

import pytest

from gpuforge.errors import ConnectError, HostKeyError, StateError
from gpuforge.testing.sshd import openssh_server
from gpuforge.transport import paramiko_engine
from gpuforge.transport.keys import ensure_key, parse_host_key
from gpuforge.transport.paramiko_engine import ParamikoTransport


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One for all."""
    with openssh_server(tmp_path_factory.mktemp("server") / "s") as server:
        yield server


@pytest.fixture
def transport(server, tmp_path):
    """A connected one."""
    made = ParamikoTransport.connect(server.endpoint(tmp_path / "cluster"), timeout_seconds=20)
    yield made
    made.close()


def test_a_server_without_the_right_kind_of_key_is_refused(tmp_path):
    """Before authentication."""
    with openssh_server(tmp_path / "server", host_key_kind="rsa") as server:
        pinned = parse_host_key(ensure_key(tmp_path / "other"))
        endpoint = server.endpoint(tmp_path / "cluster", host_key=pinned)
        with pytest.raises(HostKeyError):
            ParamikoTransport.connect(endpoint, timeout_seconds=20)
        assert "userauth-request" not in server.log


def test_a_server_that_shares_no_cipher_is_a_connect_error(tmp_path):
    """Its host key is not to blame."""
    with openssh_server(tmp_path / "server", extra="Ciphers aes256-cbc") as server:
        endpoint = server.endpoint(tmp_path / "cluster")
        with pytest.raises(ConnectError):
            ParamikoTransport.connect(endpoint, timeout_seconds=20)


def test_a_missing_private_key_is_a_state_error(server, tmp_path):
    """It is ours, not the node's."""
    endpoint = server.endpoint(tmp_path / "cluster")
    (tmp_path / "cluster" / "id_ed25519").unlink()
    with pytest.raises(StateError):
        ParamikoTransport.connect(endpoint, timeout_seconds=20)


def test_small_packets_leave_at_once(transport):
    """Nagle's algorithm costs 40 ms per command."""
    sock = transport._short[0].transport.sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_commands_and_streams_have_connections_of_their_own(transport):
    """A stream that fills its connection does not hold commands up."""
    with transport.stream(["cat", "/dev/zero"]) as process:
        assert process.read(1) == b"\0"
        assert transport.run(["echo", "quick"]).stdout == b"quick\n"
        assert transport._short[0] is not transport._bulk[0]


def test_a_connection_that_is_gone_is_replaced(transport):
    """Before the command is sent."""
    transport._short[0].transport.sock.close()
    transport._short[0].transport.close()
    assert transport.run(["echo", "back"]).stdout == b"back\n"
    assert len(transport._short) == 1


def test_a_server_that_opens_nothing_is_a_connect_error(tmp_path, monkeypatch):
    """After a few tries and one more connection."""
    monkeypatch.setattr(paramiko_engine, "_REFUSAL_SECONDS", 0.0)
    with openssh_server(tmp_path / "server", extra="MaxSessions 0") as server:
        made = ParamikoTransport.connect(server.endpoint(tmp_path / "cluster"), timeout_seconds=20)
        try:
            with pytest.raises(ConnectError):
                made.run(["true"])
            assert len(made._short) == 2
        finally:
            made.close()


def test_all_sessions_taken_is_a_connect_error_in_time(transport):
    """A caller's own limit on commands at once."""
    for _ in range(paramiko_engine._PARALLEL_RUNS):
        transport._slots.acquire()
    with pytest.raises(ConnectError, match="no free session"):
        transport.run(["true"], timeout_seconds=0.05)


def test_the_last_moment_passes_without_a_command(transport):
    """A timeout of nothing."""
    with pytest.raises(ConnectError):
        transport.run(["sleep", "5"], timeout_seconds=0.01)
