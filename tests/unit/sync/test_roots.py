"""What a task wants on its machines, and what that amounts to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gpuforge.sync.roots import list_roots, preview, task_roots


@pytest.fixture
def task(tmp_path):
    """A workdir with an ignored file, a mounted folder and a mounted key."""
    work, data, key = tmp_path / "wo rk", tmp_path / "data", tmp_path / ".ssh"
    for folder in (work / "sub", data, key):
        folder.mkdir(parents=True)
    (work / "a.py").write_text("1234")
    (work / "sub" / "naïve;\n").write_text("12")
    (work / "x.pyc").write_text("")
    (work / ".gpuforgeignore").write_text("*.pyc\n")
    (data / "x.pyc").write_text("123")
    (key / "id_rsa").write_text("secret")
    mounts = (SimpleNamespace(remote="~/data", local=data), SimpleNamespace(remote="~/.ssh", local=key))
    return SimpleNamespace(workdir=work, file_mounts=mounts)


def test_the_workdir_comes_first_then_mounts_in_order(task):
    """Each with its own rules."""
    roots = task_roots(task)

    assert [(root.remote, root.rules) for root in roots] == [
        ("workdir", "workdir"), ("~/data", "mount"), ("~/.ssh", "mount"),
    ]  # fmt: skip
    assert task_roots(SimpleNamespace(workdir=None, file_mounts=())) == ()


def test_ignore_rules_hold_for_the_workdir_alone(task):
    """A mount is sent as it is."""
    roots = task_roots(task)

    listed = list_roots(roots)

    assert list(listed) == list(roots)
    assert listed[roots[0]].ignored == 1
    assert listed[roots[1]].ignored == 0


def test_a_preview_counts_files_and_bytes(task):
    """Folders are no files; a credential is warned of where it is mounted."""
    work, data, key = preview(task)

    assert (work.label, work.files, work.total_bytes, work.ignored, work.warning) == ("workdir", 3, 12, 1, "")
    assert (data.files, data.total_bytes, data.warning) == (1, 3, "")
    assert key.warning
