"""Whether a change stays inside a machine's folder, symbolic links and odd spellings included."""

from __future__ import annotations

import os

import pytest

from gpuforge.simcloud.machines.sftp import lies_inside


@pytest.fixture
def folder(tmp_path):
    """A machine's folder, with ways out."""
    inside = tmp_path / "machine"
    (inside / "home").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "machine-neighbour").mkdir()
    (inside / "home" / "out").symlink_to(tmp_path / "outside")
    (inside / "home" / "dangling").symlink_to(tmp_path / "outside" / "nothing")
    (inside / "home" / "in").symlink_to(inside / "home")
    return inside


@pytest.mark.parametrize(
    ("path", "follow", "inside"),
    [
        ("home/file", True, True),
        ("home/new/deep/file", True, True),
        ("home/in/file", True, True),
        ("home/out", False, True),  # removing the link itself
        ("home/out", True, False),
        ("home/out/file", False, False),
        ("home/dangling", True, False),
        ("home/dangling", False, True),
        ("home/../../outside/file", False, False),
        ("home/..", False, False),
        ("home/../..", False, False),
        (".", True, False),  # the folder itself is not the machine's to remove
        ("../machine-neighbour/x", True, False),
    ],
)
def test_changes_are_judged_by_where_they_really_land(folder, path, follow, inside):
    assert lies_inside(f"{folder}/{path}", folder, follow=follow) is inside
    assert lies_inside(os.fsencode(f"{folder}/{path}"), folder, follow=follow) is inside


def test_names_that_are_no_text_are_judged_too(folder):
    assert lies_inside(os.fsencode(folder) + b"/home/\xff\xfe", folder, follow=True)
