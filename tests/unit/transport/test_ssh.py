"""Which engine connects."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from gpuforge.errors import ConnectError
from gpuforge.testing.sshd import asyncssh_server
from gpuforge.transport import files, openssh, ssh
from gpuforge.transport.openssh import OpenSSHTransport
from gpuforge.transport.paramiko_engine import ParamikoTransport


@pytest.fixture
def without_ssh(tmp_path, monkeypatch):
    """A computer without the binary."""
    monkeypatch.setenv("PATH", str(tmp_path))
    openssh.is_available.cache_clear()
    yield
    openssh.is_available.cache_clear()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One for all."""
    with asyncssh_server(tmp_path_factory.mktemp("server") / "s") as server:
        yield server


@pytest.fixture
def control_dir():
    """A short path."""
    folder = Path(tempfile.mkdtemp(prefix="gf-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_openssh_is_taken_where_it_is(server, control_dir, tmp_path):
    """And a kept connection without looking for it again."""
    endpoint = server.endpoint(tmp_path / "cluster")
    files.write_cluster_files(endpoint.folder, [endpoint], control_dir=control_dir)
    try:
        for _ in range(2):
            transport = ssh.connect(endpoint, control_dir=control_dir)
            assert isinstance(transport, OpenSSHTransport)
            assert transport.run(["echo", "hi"]).stdout == b"hi\n"
    finally:
        files.close_masters(endpoint.folder, control_dir=control_dir)


def test_paramiko_serves_otherwise(server, control_dir, tmp_path, without_ssh):
    """With the same key and pins, and no process of its own."""
    endpoint = server.endpoint(tmp_path / "cluster")
    files.write_cluster_files(endpoint.folder, [endpoint], control_dir=control_dir)
    transport = ssh.connect(endpoint, control_dir=control_dir)
    try:
        assert isinstance(transport, ParamikoTransport)
        assert transport.run(["echo", "hi"]).stdout == b"hi\n"
    finally:
        transport.close()
    assert list(control_dir.iterdir()) == []


def test_openssh_that_is_asked_for_and_missing_is_told(server, control_dir, tmp_path, without_ssh):
    """Not replaced behind the caller's back."""
    endpoint = server.endpoint(tmp_path / "cluster")
    with pytest.raises(ConnectError, match="no OpenSSH client"):
        ssh.connect(endpoint, control_dir=control_dir, engine="openssh")
