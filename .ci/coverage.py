"""Fails when branch coverage is below what we promise: 90 % of the whole, 100 % of what must not fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

WHOLE = 90.0
FULL = ("src/gpuforge/errors.py", "src/gpuforge/state/journal.py", "src/gpuforge/models/")


def main() -> int:
    """Read coverage's own report and compare."""
    report = Path("build/coverage.json")
    report.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True)
    data = json.loads(report.read_text(encoding="utf-8"))
    total = data["totals"]["percent_covered"]
    short = [
        f"{path}: {file['summary']['percent_covered']:.1f} % of 100 %"
        for path, file in sorted(data["files"].items())
        if path.startswith(FULL) and file["summary"]["percent_covered"] < 100
    ]
    for line in short:
        print(line)
    print(f"coverage: branch_percent={total:.1f} required={WHOLE:.0f} full_modules_short={len(short)}")
    return 1 if short or total < WHOLE else 0


if __name__ == "__main__":
    sys.exit(main())
