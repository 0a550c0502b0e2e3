"""How a copy looks: to a person and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuforge.cli.output import output
from gpuforge.cli.words import counted
from gpuforge.models.sync import format_size

if TYPE_CHECKING:
    from gpuforge.models.sync import SyncReport

__all__ = ["report_data", "show_report"]


def show_report(report: SyncReport) -> None:
    """One line, and a warning per entry that was left alone."""
    deleted = f" · {report.deleted:,} deleted" if report.deleted else ""
    had = f"{counted(report.files, 'file')} · {format_size(report.total_bytes)}"
    sent = f"{report.sent_files:,} sent ({format_size(report.sent_bytes)})"
    output.line(f"  {report.root}: {had} · {sent}{deleted} · {report.digest[:6]} equal on both")
    for path, reason in report.skipped:
        output.warn(f"{path}: {reason}")


def report_data(report: SyncReport) -> dict[str, Any]:
    """A copy as a document."""
    return {
        "root": report.root,
        "files": report.files,
        "total_bytes": report.total_bytes,
        "sent_files": report.sent_files,
        "sent_bytes": report.sent_bytes,
        "deleted": report.deleted,
        "ignored": report.ignored,
        "digest": report.digest,
        "skipped": [{"path": path, "reason": reason} for path, reason in report.skipped],
        "seconds": round(report.seconds, 3),
    }
