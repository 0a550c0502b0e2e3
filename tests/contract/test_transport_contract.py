"""Both engines against both servers; a missing server is a failure, not a skip."""

from __future__ import annotations

import os
import shutil

import pytest

from gpuforge.testing.sshd import find_sshd
from gpuforge.testing.transport_contract import TransportContract

# read before the suite's fixtures tidy the environment
_WITHOUT = os.environ.get("GPUFORGE_TEST_WITHOUT_SSHD") == "1"
_INSTALLED = find_sshd() is not None and shutil.which("ssh") is not None

pytestmark = pytest.mark.skipif(
    _WITHOUT and not _INSTALLED,
    reason="GPUFORGE_TEST_WITHOUT_SSHD=1 and no OpenSSH: not tested",
)


def test_both_servers_and_the_client_are_installed():
    """Without OpenSSH half of the suite would not run, which must be seen."""
    assert shutil.which("ssh"), "install openssh-client"
    assert find_sshd(), "install openssh-server"


class TestOpenSSHToSshd(TransportContract):
    engine = "openssh"
    server_kind = "openssh"


class TestOpenSSHToAsyncssh(TransportContract):
    engine = "openssh"
    server_kind = "asyncssh"


class TestParamikoToSshd(TransportContract):
    engine = "paramiko"
    server_kind = "openssh"


class TestParamikoToAsyncssh(TransportContract):
    engine = "paramiko"
    server_kind = "asyncssh"
