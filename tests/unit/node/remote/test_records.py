"""How a shell's end is put into numbers and words."""

from __future__ import annotations

import pytest

from gpuforge.node.remote.records import decode_status, describe_exit


@pytest.mark.parametrize(
    ("status", "decoded", "words"),
    [
        (0, (0, None), "exit 0"),
        (3 << 8, (3, None), "exit 3"),
        (9, (137, 9), "killed by SIGKILL (out of memory?)"),
        (143 << 8, (143, 15), "killed by SIGTERM"),
        (255 << 8, (255, None), "exit 255"),
        (160 << 8, (160, 32), "exit 160"),
    ],
)
def test_a_shells_status_is_decoded(status, decoded, words):
    code, number = decode_status(status)

    assert (code, number) == decoded
    assert describe_exit(code, number) == words


def test_a_shell_without_a_status_has_no_code():
    assert decode_status(None) == (None, None)
