"""The tree that is never left: descriptors, symlinks, removal, and names that are one file."""

from __future__ import annotations

import errno
import os

import pytest

from gpuforge.node.remote.tree import clashes


def test_deep_and_wide_trees_keep_few_descriptors(tree, home):
    wide = [f"w{index}/x" for index in range(300)]
    deep = "/".join(["d"] * 200)
    for path in (*wide, deep + "/x"):
        (home / path).parent.mkdir(parents=True)
        (home / path).write_text("x")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts only
    found = tree.look([os.fsencode(path) for path in (*wide, deep + "/x")])
    assert len(found) == 301
    assert len(os.listdir("/proc/self/fd")) - before < 400  # noqa: PTH208


def test_look_does_not_see_through_symlinks(tree, home, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("x")
    (home / "link").symlink_to(tmp_path / "outside")
    assert list(tree.look([b"link", b"link/x", b"none/x", b"none/y"])) == [b"link"]


def test_removal_spares_full_folders_and_passes_real_refusals_on(tree, home, monkeypatch):
    (home / "full").mkdir()
    (home / "full" / "x").write_text("x")
    assert not tree.remove(b"full")
    assert not tree.remove(b"absent")
    assert not tree.remove(b"full/x/y")
    assert tree.remove(b"full/x")
    assert tree.remove(b"full")
    (home / "kept").write_text("x")

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        tree.remove(b"kept")


def test_two_names_that_are_one_file_there_are_told(tree, home):
    (home / "README").write_text("x")
    os.link(home / "README", home / "readme")  # as a disk that folds case shows them
    (home / "other").write_text("x")
    pairs = [("README", "readme"), ("README", "other"), ("README", "absent")]
    assert list(clashes(tree, pairs)) == [
        ("readme", "a name the other side cannot hold: there it is the same as 'README'")
    ]
