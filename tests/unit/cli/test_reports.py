"""How a copy is told."""

from __future__ import annotations

from gpuforge.cli.reports import report_data, show_report
from gpuforge.models.sync import SyncReport

REPORT = SyncReport(
    root="workdir", files=1042, total_bytes=3_100_000, sent_files=2, sent_bytes=1500, deleted=1, ignored=6,
    digest="9f3a6c0123", skipped=(("odd\x1bname", "changed here"),), seconds=0.12345,
)  # fmt: skip


def test_a_copy_is_one_line_and_a_warning_per_exception(capsys):
    """Sizes with units."""
    show_report(REPORT)

    assert capsys.readouterr().err == (
        "  workdir: 1,042 files · 3.1 MB · 2 sent (1.5 kB) · 1 deleted · 9f3a6c equal on both\n"
        "warning: odd\\x1bname: changed here\n"
    )


def test_a_copy_is_a_document():
    """Every field under its own name."""
    data = report_data(REPORT)

    assert data["skipped"] == [{"path": "odd\x1bname", "reason": "changed here"}]
    assert (data["files"], data["sent_bytes"], data["seconds"]) == (1042, 1500, 0.123)
