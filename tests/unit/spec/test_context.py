"""What validation knows of the world comes in as a value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpuforge.spec.context import Context


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".", "/srv/here"),
        ("data", "/srv/here/data"),
        ("../x", "/srv/x"),
        ("/abs", "/abs"),
        ("~", "/home/me"),
        ("~/a b", "/home/me/a b"),
        ("~other/x", "/srv/here/~other/x"),
    ],
)
def test_paths_start_at_the_callers_folder(text, expected):
    """And a tilde is the caller's home as their environment has it."""
    context = Context(cwd=Path("/srv/here"), environ={"HOME": "/home/me"})

    assert context.expand(text) == Path(expected)


def test_a_link_keeps_its_name(tmp_path):
    """The user sees the path that they wrote."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert Context(cwd=tmp_path, environ={}).expand("link") == tmp_path / "link"


def test_the_process_own_context(tmp_path, monkeypatch):
    """For tasks made in Python."""
    monkeypatch.chdir(tmp_path)

    context = Context.of_process()

    assert context.cwd == tmp_path
    assert context.environ is os.environ
    assert context.known_providers is None
