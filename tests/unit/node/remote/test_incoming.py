"""What arrives is made whole, or is a row with its reason."""

from __future__ import annotations

import errno
import io
import os

import pytest

from gpuforge.node.remote.entries import Entry
from gpuforge.node.remote.incoming import FullError, Incoming, failed_row, make, size_text
from gpuforge.node.remote.wire import read_frame


def test_made_links_folders_and_times_replace_what_was(tree, home):
    (home / "link").symlink_to("old")
    (home / "folder").mkdir(mode=0o700)
    (home / "file").write_text("x")
    make(tree, Entry(b"link", b"l", 0, 0, 0, b"new"))
    make(tree, Entry(b"folder", b"d", 0o751, 0, 0))
    make(tree, Entry(b"file", b"f", 0o600, 1, 1_000))
    assert str((home / "link").readlink()) == "new"
    assert (home / "folder").stat().st_mode & 0o777 == 0o751
    assert ((home / "file").stat().st_mode & 0o777, (home / "file").stat().st_mtime_ns) == (0o600, 1_000)


def test_each_refusal_has_its_words(hand, tree):
    said = {
        code: failed_row(tree, hand.file, OSError(code, os.strerror(code)))[1] for code in (21, 39, 13, 84)
    }
    assert "folder with files of its own" in said[21] == said[39]
    assert said[13] == "Permission denied"
    assert "cannot hold" in said[84]
    with pytest.raises(FullError) as caught:
        failed_row(tree, hand.file, OSError(errno.ENOSPC, "full"))
    assert "4 B needed" in caught.value.args[0][1]
    assert failed_row(tree, hand.file, OSError("odd"))[1] == "odd"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (5_250_000, "5.2 MB"), (7e12, "7000.0 GB")],
)
def test_sizes_read_well(size, text):
    assert size_text(size) == text


def test_an_umask_does_not_narrow_what_was_sent(hand, tree, home):
    before = os.umask(0o077)
    try:
        incoming = Incoming(tree, [hand.file], "t", umask=0o777)
        assert incoming.take(*read_frame(io.BytesIO(hand.small(0, b"data")))) == []
    finally:
        os.umask(before)
    assert (home / "file").stat().st_mode & 0o777 == 0o644
