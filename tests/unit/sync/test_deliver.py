"""Bringing roots to several nodes at once, listed once, told in a line."""

from __future__ import annotations

import pytest

from gpuforge.errors import SyncError
from gpuforge.models.progress import silent
from gpuforge.sync.deliver import deliver
from gpuforge.sync.push import Root
from gpuforge.testing.nodes import local_nodes


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("1234")
    (folder / "sub" / "b c").write_text("12")
    return folder


def test_every_node_gets_every_root(tree, tmp_path):
    """Reports node by node; the last line counts files once and names the digest."""
    nodes = local_nodes(tmp_path, 2)
    steps = []
    roots = (
        Root(local=tree, remote="workdir", rules="workdir"),
        Root(local=tree, remote="~/d", rules="mount"),
    )

    reports = deliver(nodes, roots, folder=tmp_path / "cluster", progress=steps.append)

    assert [report.root for report in reports] == ["workdir", "~/d"] * 2
    for rank in range(2):
        home = tmp_path / f"node{rank}"
        assert (home / "workdir" / "sub" / "b c").read_text() == "12"
        assert (home / "d" / "a").read_text() == "1234"
    first, last = reports[0].digest[:6], reports[1].digest[:6]
    assert steps[-1].done
    assert steps[-1].text == f"4 files · 12 B · {first}+{last} equal here and on all 2"


def test_what_did_not_change_does_not_travel(tree, tmp_path):
    """And the line says how much did."""
    nodes = local_nodes(tmp_path, 1)
    roots = (Root(local=tree, remote="workdir", rules="workdir"),)
    deliver(nodes, roots, folder=tmp_path / "cluster", progress=silent)
    (tree / "a").write_text("changed")
    steps = []

    (report,) = deliver(nodes, roots, folder=tmp_path / "cluster", progress=steps.append)

    assert report.sent_files == 1
    assert steps[-1].text == f"2 files · 9 B · 1 sent · {report.digest[:6]} equal on both"


def test_without_roots_nothing_happens(tmp_path):
    """No connection, no line."""
    steps = []

    assert deliver([], (), folder=tmp_path, progress=steps.append) == ()
    assert steps == []


def test_what_cannot_be_read_is_named_before_anything_is_sent(tmp_path):
    """A root that is not there."""
    with pytest.raises((SyncError, FileNotFoundError)) as caught:
        deliver(
            local_nodes(tmp_path, 1), (Root(local=tmp_path / "no where", remote="workdir", rules="mount"),),
            folder=tmp_path / "cluster", progress=silent,
        )  # fmt: skip

    assert "no where" in str(caught.value)
