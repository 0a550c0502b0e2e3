"""What this computer remembers: digests by stat, and doubt about files that changed with the listing."""

from __future__ import annotations

import hashlib
import os

import pytest

from gpuforge.node.remote.entries import DIGEST_BYTES, tree_digest
from gpuforge.sync import ignore
from gpuforge.sync.manifest import Local, LocalTree, record_path


@pytest.fixture
def tree(source):
    (source / "a").write_text("one")
    (source / "b").write_text("two")
    found = LocalTree(os.fsencode(source))
    yield found
    found.close()


def remember(local):
    digest = tree_digest(local.entries)
    local.prepare(digest)()
    return digest


def load(tmp_path, source, listed_ns):
    return Local.load(record_path(tmp_path, "x"), ignore.listing(source).entries, listed_ns=listed_ns)


def test_a_saved_push_is_known_until_something_changes(tmp_path, source, tree):
    local = load(tmp_path, source, 2**62)
    assert not local.is_known
    local.add_digests(tree, range(2))
    digest = remember(local)
    again = load(tmp_path, source, 2**62)
    assert again.is_known
    assert again.tree == digest
    os.utime(source / "a", (1, 1))
    assert not load(tmp_path, source, 2**62).is_known


def test_digests_come_from_the_record_while_the_stat_is_the_same(tmp_path, source, tree):
    local = load(tmp_path, source, 2**62)
    local.add_digests(tree, range(2))
    remember(local)
    info = (source / "a").stat()
    (source / "a").write_text("ONE")
    os.utime(source / "a", ns=(info.st_atime_ns, info.st_mtime_ns))
    again = load(tmp_path, source, 2**62)
    again.add_digests(tree, range(2))
    assert again.entries[0].extra == hashlib.blake2b(b"one", digest_size=DIGEST_BYTES).hexdigest().encode()


def test_files_as_young_as_the_last_listing_are_read_again(tmp_path, source, tree):
    local = load(tmp_path, source, 1)
    local.add_digests(tree, range(2))
    remember(local)
    unchanged = load(tmp_path, source, 2**62).settled(tree)
    assert unchanged.young
    assert unchanged.is_known
    info = (source / "a").stat()
    (source / "a").write_text("ONE")
    os.utime(source / "a", ns=(info.st_atime_ns, info.st_mtime_ns))
    settled = load(tmp_path, source, 2**62).settled(tree)
    assert not settled.is_known
    assert b"a" not in settled.record.entries
    unchanged.confirm()
    assert not load(tmp_path, source, 2**62).settled(tree).young


def test_a_file_that_cannot_be_read_stays_without_a_digest(tmp_path, source, tree):
    local = load(tmp_path, source, 1)
    (source / "a").unlink()
    local.add_digests(tree, range(2))
    assert local.entries[0].extra == b""
    assert local.entries[1].extra


def test_a_vanished_young_file_counts_as_changed(tmp_path, source, tree):
    local = load(tmp_path, source, 1)
    local.add_digests(tree, range(2))
    remember(local)
    (source / "a").unlink()
    assert b"a" not in load(tmp_path, source, 2**62).settled(tree).record.entries


def test_records_of_different_places_do_not_meet(tmp_path):
    assert record_path(tmp_path, "a", "b") != record_path(tmp_path, "a\0b", "")
    assert record_path(tmp_path, "ab", "") != record_path(tmp_path, "a", "b")
