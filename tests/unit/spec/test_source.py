"""Finding and reading a task file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpuforge.errors import SpecError
from gpuforge.spec.source import read_source, shown_name


def test_a_relative_path_starts_at_the_callers_folder(tmp_path):
    """And comes back absolute."""
    (tmp_path / "odd; name ☃.yaml").write_text("run: x\n")

    document, path = read_source("odd; name ☃.yaml", cwd=tmp_path)

    assert document.values == {"run": "x"}
    assert path == tmp_path / "odd; name ☃.yaml"


def test_no_file(tmp_path):
    """Says where it looked and how to get one."""
    with pytest.raises(SpecError) as caught:
        read_source("gpuforge.yaml", cwd=tmp_path)

    assert caught.value.brief == 'there is no task file "gpuforge.yaml"'
    assert str(tmp_path) in caught.value.details
    assert "gpuforge init" in caught.value.resolution


def test_a_folder_is_no_file(tmp_path):
    """Its task file is probably meant."""
    (tmp_path / "sub").mkdir()

    with pytest.raises(SpecError, match=r'"sub" is a folder') as caught:
        read_source("sub", cwd=tmp_path)

    assert caught.value.resolution == "gpuforge run sub/gpuforge.yaml"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "file.txt/x.yaml"])
def test_a_path_that_cannot_be_read(tmp_path, name):
    """The system's reason, and a printable name."""
    (tmp_path / "file.txt").write_text("x")

    with pytest.raises(SpecError, match="cannot be read") as caught:
        read_source(name, cwd=tmp_path)

    assert caught.value.brief.isprintable()
    assert caught.value.details


def test_a_pipe_is_read_like_a_file(tmp_path):
    """``gpuforge run <(generate)`` hands over a path that is no regular file."""
    reading, writing = os.pipe()
    os.write(writing, b"run: x\n")
    os.close(writing)
    try:
        document, _ = read_source(f"/dev/fd/{reading}", cwd=tmp_path)
    finally:
        os.close(reading)

    assert document.values == {"run": "x"}


def test_names_are_shown_relative_where_they_can_be():
    """Short enough to be clicked in a terminal."""
    assert shown_name(Path("/a/b/c.yaml"), cwd=Path("/a")) == "b/c.yaml"
    assert shown_name(Path("/x/c.yaml"), cwd=Path("/a")) == "/x/c.yaml"
