"""Calls over HTTP that a node makes, and what comes back instead of an answer."""

from __future__ import annotations

import socket
import threading

import pytest

from gpuforge.node.remote.calls import make_call


def test_an_answer_that_is_no_http_is_an_os_error(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def babble() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(b"not http\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(OSError, match="no answer of HTTP"):
            make_call({"method": "GET", "url": f"http://127.0.0.1:{listener.getsockname()[1]}/"})
        thread.join()
