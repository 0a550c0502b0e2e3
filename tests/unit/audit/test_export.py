"""The export holds every row with its hash, one per line."""

from __future__ import annotations

import json

from gpuforge.audit.export import export_lines
from gpuforge.state.journal import GENESIS, Journal, canonical, row_hash


def test_every_row_is_a_line_whose_chain_can_be_checked_elsewhere(tmp_path, manual_clock):
    path = tmp_path / "journal.sqlite3"
    with Journal.open(path, head_path=tmp_path / "head", clock=manual_clock) as journal:
        journal.lease("uuid", {"name": "naïve\n'quote'; x"})
        lines = list(export_lines(journal))

    prev = GENESIS
    for line in lines:
        assert line.endswith("\n")
        row = json.loads(line)
        hashed = [row[key] for key in ("seq", "at", "epoch", "cluster", "node", "attempt", "kind")]
        assert row["prev"] == prev
        assert row["hash"] == row_hash(prev, [*hashed, canonical(row["body"])])
        prev = row["hash"]
    assert len(lines) == 2
