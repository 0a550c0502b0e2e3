"""Finding a place to listen on."""

from __future__ import annotations

import contextlib
import socket

import pytest

from gpuforge.errors import ProviderError
from gpuforge.simcloud.machines.machine import bind_first


def test_the_first_free_place_is_taken():
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.83.1", 0)))
        port = taken.getsockname()[1]
        sock = stack.enter_context(bind_first(["127.0.83.1", "127.0.83.2"], [port]))
        assert sock.getsockname() == ("127.0.83.2", port)


def test_where_nothing_is_free_each_place_is_named():
    with socket.create_server(("127.0.83.3", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProviderError) as caught:
            bind_first(["127.0.83.3", "192.0.2.1"], [port])
    assert f"127.0.83.3:{port}" in caught.value.details
    assert f"192.0.2.1:{port}" in caught.value.details
