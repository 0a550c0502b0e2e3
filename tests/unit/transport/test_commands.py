"""Commands: any argv survives any POSIX shell."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuforge.errors import CommandError
from gpuforge.transport.commands import put_argv, render_command

_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_every_argument_survives_the_shell(shell):
    """Whatever it holds."""

    @settings(max_examples=40, deadline=None)
    @given(st.lists(_WORDS, max_size=5))
    def survives(words):
        command = render_command(["printf", "%s\\0", "first", *words])
        out = subprocess.run([shell, "-c", command], check=True, capture_output=True).stdout
        assert out == b"".join(os.fsencode(word) + b"\0" for word in ["first", *words])

    survives()


def test_names_that_are_no_text_survive_too():
    """A file name may hold bytes that are not UTF-8."""
    name = os.fsdecode(b"caf\xe9")
    done = subprocess.run(
        ["sh", "-c", render_command(["printf", "%s", name])], check=True, capture_output=True
    )
    assert done.stdout == b"caf\xe9"


@pytest.mark.parametrize("drain_stdin", [False, True])
def test_exit_codes_and_streams_pass_through(drain_stdin):
    """Stderr is the command's own; a death by signal adds no remark of the shell."""
    for script, code, err in (
        ("exit 255", 255, b""),
        ("echo e >&2; exit 3", 3, b"e\n"),
        ("kill -9 $$", 137, b""),
    ):
        command = render_command(["sh", "-c", script], drain_stdin=drain_stdin)
        done = subprocess.run(["bash", "-c", command], input=b"x" * 200_000, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (code, err)


def test_what_no_node_can_run_is_refused():
    """Before it is sent."""
    for argv in ([], [""], ["a\0"], ["a", "x" * 130_000]):
        with pytest.raises(CommandError):
            render_command(argv)


@pytest.mark.parametrize("sent", [b"", b"12", b"1234"])
def test_an_incomplete_file_leaves_the_old_one(sent, tmp_path):
    """A broken connection looks like the end of stdin."""
    (tmp_path / "it's").write_bytes(b"old")
    argv = put_argv("it's", size=3, mode=0o600)
    done = subprocess.run(argv, cwd=tmp_path, input=sent, capture_output=True, check=False)
    assert done.returncode == 74
    assert b"incomplete" in done.stderr
    assert list(tmp_path.glob(".*")) == []
    assert (tmp_path / "it's").read_bytes() == b"old"


def test_a_path_without_a_file_is_refused():
    """Nothing to write."""
    for path in ("", "folder/"):
        with pytest.raises(CommandError):
            put_argv(path, size=0, mode=0o600)
