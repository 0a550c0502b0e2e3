"""What is special to the OpenSSH engine: the kept master that processes share."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from gpuforge.errors import ConnectError, HostKeyError, StateError
from gpuforge.testing.relay import Relay
from gpuforge.testing.sshd import openssh_server
from gpuforge.transport import files, mux, openssh, ssh
from gpuforge.transport.keys import ensure_key, parse_host_key

_CLIENT = """
import sys
from pathlib import Path
from gpuforge.models.instance import HostKey, Route
from gpuforge.transport import ssh
from gpuforge.transport.base import Endpoint
name, alias, host, port, user, blob, folder, control_dir = sys.argv[1:]
endpoint = Endpoint(
    name=name, alias=alias, route=Route(host=host, port=int(port), user=user),
    host_key=HostKey(kind="ssh-ed25519", blob=blob), folder=Path(folder),
)
done = ssh.connect(endpoint, control_dir=Path(control_dir)).run(["echo", "hello"])
assert not {"paramiko", "pydantic", "rich", "cryptography"} & set(sys.modules)
sys.stdout.write(done.stdout.decode())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One for all."""
    with openssh_server(tmp_path_factory.mktemp("server") / "s") as server:
        yield server


@pytest.fixture
def control_dir():
    """A short path."""
    folder = Path(tempfile.mkdtemp(prefix="gf-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def endpoint(server, tmp_path, control_dir):
    """A node whose files are written and whose masters end."""
    made = server.endpoint(tmp_path / "cluster")
    with _written(made, control_dir):
        yield made


@contextlib.contextmanager
def _written(endpoint, control_dir):
    files.write_cluster_files(
        endpoint.folder, [endpoint], control_dir=control_dir, names={endpoint.name: ("head",)}
    )
    try:
        yield
    finally:
        files.close_masters(endpoint.folder, control_dir=control_dir)


def _connect(endpoint, control_dir, **options):
    return ssh.connect(endpoint, control_dir=control_dir, engine="openssh", **options)


def _client(endpoint, control_dir):
    route = endpoint.route
    facts = [endpoint.name, endpoint.alias, route.host, route.port, route.user, endpoint.host_key.blob]
    argv = [sys.executable, "-c", _CLIENT, *(str(fact) for fact in facts), endpoint.folder, control_dir]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_processes_that_start_at_once_share_one_master(endpoint, control_dir):
    """All of them work, end although the master lives on, and load nothing heavy."""
    clients = [_client(endpoint, control_dir) for _ in range(4)]
    results = [(*client.communicate(timeout=60), client.returncode) for client in clients]
    assert results == [(b"hello\n", b"", 0)] * 4
    path = files.control_path(endpoint, control_dir)
    titles = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in files._titled(str(path))]
    assert len(titles) == 1


def test_a_killed_master_is_replaced(endpoint, control_dir):
    """Its socket is stale; the next command makes a new one."""
    transport = _connect(endpoint, control_dir)
    path = files.control_path(endpoint, control_dir)
    first = mux.master_pid(path)
    os.kill(first, signal.SIGKILL)
    assert transport.run(["echo", "back"]).stdout == b"back\n"
    second = mux.master_pid(path)
    assert second not in (None, first)


def test_a_lost_socket_is_replaced(endpoint, control_dir):
    """Someone tidied the folder for temporary files."""
    transport = _connect(endpoint, control_dir)
    shutil.rmtree(control_dir)
    assert transport.run(["echo", "back"]).stdout == b"back\n"


def test_a_connection_that_went_silent_is_replaced(server, tmp_path, control_dir, monkeypatch):
    """As after a laptop's sleep: no session opens on it, so the command was not run."""
    with Relay((server.host, server.port)) as relay:
        route = replace(server.route, host=relay.address[0], port=relay.address[1])
        endpoint = server.endpoint(tmp_path / "cluster", route=route)
        with _written(endpoint, control_dir):
            transport = _connect(endpoint, control_dir)
            first = mux.master_pid(files.control_path(endpoint, control_dir))
            relay.stall()
            monkeypatch.setattr(openssh, "_OPEN_SECONDS", 2.0)
            done = transport.run(["sh", "-c", "echo x >> count; cat count"])
            assert done.stdout == b"x\n"
            assert mux.master_pid(files.control_path(endpoint, control_dir)) != first
            relay.stall()
            with pytest.raises(ConnectError):
                transport.run(["true"], timeout_seconds=0.3)
    (server.home / "count").unlink()


def test_a_master_that_hangs_is_a_connect_error_in_time(endpoint, control_dir, monkeypatch):
    """Its process is stopped, so it neither opens a session nor agrees to end."""
    monkeypatch.setattr(mux, "_ASK_SECONDS", 0.2)
    transport = _connect(endpoint, control_dir)
    pid = mux.master_pid(files.control_path(endpoint, control_dir))
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConnectError):
            transport.run(["true"], timeout_seconds=0.3)
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    assert transport.run(["echo", "back"]).stdout == b"back\n"


def test_a_forward_outlives_its_master(endpoint, server, control_dir):
    """The next connection has a new one."""
    transport = _connect(endpoint, control_dir)
    with transport.forward(server.host, server.port) as local:
        os.kill(mux.master_pid(files.control_path(endpoint, control_dir)), signal.SIGKILL)
        with socket.create_connection(local, timeout=20) as client:
            assert client.recv(4) == b"SSH-"


def test_a_session_more_than_the_server_allows_has_its_own_connection(tmp_path, control_dir):
    """Exit codes, 255 and signals come back the same way, and so do both streams."""
    with openssh_server(tmp_path / "server", extra="MaxSessions 1") as server:
        endpoint = server.endpoint(tmp_path / "cluster")
        with _written(endpoint, control_dir):
            transport = _connect(endpoint, control_dir)
            with transport.stream(["cat"]) as held:
                held.write(b"x\n")
                assert held.read(10) == b"x\n"
                for script, code in (("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137)):
                    done = transport.run(["sh", "-c", f"cat; echo e >&2; {script}"], stdin=b"in")
                    assert (done.exit_code, done.stdout, done.stderr) == (code, b"in", b"e\n")
                with transport.stream(["sh", "-c", "echo $PPID; exec sleep 60"]) as other:
                    pid = int(next(other.lines()))
                    with pytest.raises(ConnectError):
                        other.wait(0.05)
                    os.kill(pid, signal.SIGKILL)
                    os.kill(_parent(pid), signal.SIGKILL)
                    with pytest.raises(ConnectError):
                        other.wait(20)


def _parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def test_the_users_own_tools_work_with_the_file(endpoint, server, control_dir, tmp_path):
    """Ssh by the friendly name and rsync, over the same pinned key; they start the master we then use."""
    config = endpoint.folder / "ssh_config"
    said = subprocess.run(
        ["ssh", "-F", config, "head", "echo hi"], check=True, capture_output=True, text=True, timeout=60
    )
    assert said.stdout == "hi\n"
    assert mux.is_listening(files.control_path(endpoint, control_dir))
    (tmp_path / "a file").write_text("data")
    subprocess.run(
        ["rsync", "-a", "-e", f"ssh -F '{config}'", tmp_path / "a file", "head:copied"],
        check=True,
        timeout=60,
    )
    assert (server.home / "copied").read_text() == "data"
    assert _connect(endpoint, control_dir).run(["echo", "ours"]).stdout == b"ours\n"


def test_a_server_without_the_right_kind_of_key_is_refused(tmp_path, control_dir):
    """Only Ed25519 is pinned, so only Ed25519 is accepted."""
    with openssh_server(tmp_path / "server", host_key_kind="rsa") as server:
        pinned = parse_host_key(ensure_key(tmp_path / "other"))
        endpoint = server.endpoint(tmp_path / "cluster", host_key=pinned)
        with _written(endpoint, control_dir):
            with pytest.raises(HostKeyError):
                _connect(endpoint, control_dir)
            assert "userauth-request" not in server.log


@pytest.mark.parametrize("damage", ["missing", "another key", "two keys"])
def test_pins_that_are_not_ours_are_refused(endpoint, control_dir, tmp_path, damage):
    """The file decides whom ssh trusts, so it is compared before it is used."""
    pins = endpoint.folder / "known_hosts"
    other = f"{endpoint.alias} {parse_host_key(ensure_key(tmp_path / 'other'))}\n"
    if damage == "missing":
        pins.unlink()
    else:
        pins.write_text(other if damage == "another key" else pins.read_text() + other)
    with pytest.raises(StateError):
        _connect(endpoint, control_dir)


def test_only_one_process_connects_at_a_time(endpoint, control_dir):
    """One that waits too long says so."""
    path = files.control_path(endpoint, control_dir)
    with files.master_lock(path, timeout_seconds=1), pytest.raises(ConnectError, match="another process"):
        _connect(endpoint, control_dir, timeout_seconds=0.1)


def test_all_sessions_taken_is_a_connect_error_in_time(endpoint, control_dir):
    """A caller's own limit on commands at once."""
    transport = _connect(endpoint, control_dir)
    for _ in range(openssh._PARALLEL_RUNS):
        transport._slots.acquire()
    with pytest.raises(ConnectError, match="no free session"):
        transport.run(["true"], timeout_seconds=0.05)


def test_nothing_is_left_in_the_folder_of_sockets(endpoint, control_dir):
    """Logs are removed when they were read, the rest with the masters."""
    transport = _connect(endpoint, control_dir)
    with transport.stream(["true"]) as process:
        assert process.wait(20) == 0
    assert sorted(entry.suffix for entry in control_dir.iterdir()) == ["", ".lock"]
    files.close_masters(endpoint.folder, control_dir=control_dir)
    assert list(control_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("banner", "expected"),
    [
        ("OpenSSH_9.2p1 Debian", True),
        ("OpenSSH_for_Windows_8.1p1", True),
        ("OpenSSH_7.4p1", False),
        ("x", False),
    ],
)
def test_an_old_client_is_not_used(banner, expected, tmp_path, monkeypatch):
    """Version 8 is the oldest that knows what we write."""
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\necho '{banner}, OpenSSL 3' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    openssh.is_available.cache_clear()
    try:
        assert openssh.is_available() is expected
    finally:
        openssh.is_available.cache_clear()
