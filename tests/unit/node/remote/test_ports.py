"""Ports of the node."""

from __future__ import annotations

import socket

import pytest

from gpuforge.node.remote import ports
from gpuforge.node.remote.files import AgentError


def test_a_free_port_lies_outside_the_range_of_clients():
    found = {ports.free_port("127.0.0.1") for _ in range(5)}

    assert all(20000 <= port < 32768 for port in found)


def test_an_address_of_another_machine_is_an_error_and_not_an_endless_search():
    with pytest.raises(OSError, match="assign"):
        ports.listen("192.0.2.1")


def test_a_machine_without_a_free_port_says_so(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.92.3", 0))
        taken.listen()
        monkeypatch.setattr(ports, "_random_port", lambda: taken.getsockname()[1])

        for search in (ports.free_port, ports.listen):
            with pytest.raises(AgentError, match="no free port"):
                search("127.0.92.3")
