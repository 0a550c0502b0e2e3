"""Lines of JSON over a socket: none is lost, and what is no line ends the connection."""

from __future__ import annotations

import socket

import pytest

from gpuforge.node.remote.line import Closed, Line


def test_the_last_words_before_an_end_are_heard():
    near, far = socket.socketpair()
    line = Line(near)
    far.sendall(b'{"noted": 1}\n{"torn')
    far.close()

    heard = line.receive()
    with pytest.raises(Closed):
        line.receive()
    line.close()

    assert heard == [{"noted": 1}]
