"""Reports of a copy are values."""

from __future__ import annotations

import pytest

from gpuforge.models.sync import SyncReport, format_size


def test_reports_of_the_same_copy_are_equal():
    """Both ends may be compared as wholes."""
    values = {
        "root": "workdir", "files": 1, "total_bytes": 2, "sent_files": 1, "sent_bytes": 2, "deleted": 0,
        "ignored": 0, "digest": "9f3a6c",
    }  # fmt: skip

    assert SyncReport(**values) == SyncReport(**values)
    assert SyncReport(**values).skipped == ()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_100_000, "3.1 MB"), (999_960, "1.0 MB"),
        (2 * 10**9, "2.0 GB"), (5 * 10**15, "5,000.0 TB"),
    ],
)  # fmt: skip
def test_sizes_are_read_in_decimal_units(count, text):
    """Never a thousand of the smaller one."""
    assert format_size(count) == text
