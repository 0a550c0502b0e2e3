"""Incomplete copies are one error with all rows, of which the first are shown."""

from __future__ import annotations

from gpuforge.sync.failures import incomplete, unequal


def test_all_rows_are_kept_and_the_first_shown():
    rows = [(f"f{index}", "why") for index in range(25)]
    error = incomplete("workdir", rows, 40)
    assert error.brief == "25 of 40 entries could not be copied to workdir"
    assert error.rows == tuple(rows)
    assert error.details.splitlines()[0] == "f0: why"
    assert error.details.splitlines()[-1] == "… and 5 more"
    assert error.exit_code == 74


def test_unequal_digests_name_both():
    error = unequal("workdir", "a" * 64, "b" * 64)
    assert "aaaaaaaaaaaa here, bbbbbbbbbbbb on the machine" in error.details
