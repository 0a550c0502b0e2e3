"""Reports of a copy are values."""

from __future__ import annotations

from gpuforge.models.sync import SyncReport


def test_reports_of_the_same_copy_are_equal():
    """Both ends may be compared as wholes."""
    values = {
        "root": "workdir", "files": 1, "total_bytes": 2, "sent_files": 1, "sent_bytes": 2, "deleted": 0,
        "ignored": 0, "digest": "9f3a6c",
    }  # fmt: skip

    assert SyncReport(**values) == SyncReport(**values)
    assert SyncReport(**values).skipped == ()
