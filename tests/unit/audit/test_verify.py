"""The verifier names the first bad row, whatever was done to the file, and never ends in a traceback."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from gpuforge.audit.verify import verify
from gpuforge.errors import StateError
from gpuforge.state.journal import Journal, NewRow, RowKind

ROWS = 6


@pytest.fixture
def written(tmp_path, manual_clock):
    """A journal of six rows, closed; returns its path."""
    path = tmp_path / "journal.sqlite3"
    with opened(path, manual_clock) as journal:
        epoch = journal.lease("uuid-1", {"who": "ada@laptop"})
        for number in range(ROWS - 2):
            body = {"number": number, "text": "naïve; 'quote'\nnewline"}
            journal.append([NewRow(kind=RowKind.RESERVE, cluster="uuid-1", epoch=epoch, body=body)])
    return path


def opened(path, clock):
    return Journal.open(path, head_path=path.with_name("journal.head"), clock=clock)


def tamper(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER journal_no_{verb}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_an_untouched_journal_is_whole(written, manual_clock):
    with opened(written, manual_clock) as journal:
        report = verify(journal)

        assert report.is_whole
        assert report.rows == ROWS
        assert report.head == journal.tail()


@pytest.mark.parametrize(
    ("statement", "seq", "reason"),
    [
        ("UPDATE journal SET body = '{}' WHERE seq = 3", 3, "changed after it was written"),
        ("UPDATE journal SET node = 'x' WHERE seq = 4", 4, "changed after it was written"),
        ("UPDATE journal SET at = '2020' WHERE seq = 2", 2, "changed after it was written"),
        ("UPDATE journal SET kind = 'FROM_THE_FUTURE' WHERE seq = 4", 4, "unknown"),
        ("UPDATE journal SET epoch = 'two' WHERE seq = 3", 3, "its epoch is a str"),
        ("UPDATE journal SET body = x'00ff' WHERE seq = 3", 3, "its body is a bytes"),
        ("UPDATE journal SET body = '{ }' WHERE seq = 3", 3, "not the canonical JSON"),
        ("UPDATE journal SET body = '[1]' WHERE seq = 3", 3, "not the canonical JSON"),
        ("UPDATE journal SET body = '{' WHERE seq = 3", 3, "not the canonical JSON"),
        ("UPDATE journal SET prev = 'x' WHERE seq = 5", 5, "does not follow"),
        ("UPDATE journal SET hash = 'x' WHERE seq = 3", 3, "changed after it was written"),
        ("DELETE FROM journal WHERE seq = 3", 3, "a row is missing"),
        ("UPDATE journal SET seq = 99 WHERE seq = 4", 4, "a row is missing"),
    ],
)
def test_the_first_bad_row_is_named(written, manual_clock, statement, seq, reason):
    with opened(written, manual_clock) as journal:
        tamper(written, statement)

        report = verify(journal)

    assert report.fault.seq == seq
    assert reason in report.fault.reason
    assert report.rows == seq - 1


def test_a_lost_tail_is_found_by_the_head_outside(written, manual_clock):
    with opened(written, manual_clock) as journal:
        tamper(written, "DELETE FROM journal WHERE seq > 4")

        report = verify(journal)

    assert report.fault.reason == "rows 5 to 6 had been written and are missing"


def test_a_rewritten_tail_is_found_by_the_head_outside(written, manual_clock):
    with opened(written, manual_clock) as journal:
        tamper(written, "DELETE FROM journal WHERE seq > 5")
        epoch = journal.rows()[1].epoch
        journal.append([NewRow(kind=RowKind.ACK, cluster="uuid-1", epoch=epoch)])

        report = verify(journal)

    assert report.fault.seq == 6
    assert "not the row" in report.fault.reason


@pytest.mark.parametrize("text", ["", "{}", "null", '{"seq": "x", "hash": 1}', "\x00"])
def test_a_head_that_cannot_be_read_is_a_fault(written, manual_clock, text):
    with opened(written, manual_clock) as journal:
        written.with_name("journal.head").write_text(text)

        report = verify(journal)

    assert "journal.head" in report.fault.reason


def test_a_missing_head_is_a_fault(written, manual_clock):
    with opened(written, manual_clock) as journal:
        written.with_name("journal.head").unlink()

        assert "missing" in verify(journal).fault.reason


def test_a_new_journal_without_a_head_is_whole(tmp_path, manual_clock):
    path = tmp_path / "new.sqlite3"
    with opened(path, manual_clock) as journal:
        path.with_name("journal.head").unlink()

        assert verify(journal).is_whole


def test_an_emptied_journal_has_no_head(written, manual_clock):
    with opened(written, manual_clock) as journal:
        tamper(written, "DELETE FROM journal")

        report = verify(journal)

    assert report.head is None
    assert report.fault.seq == 1


def test_a_dropped_table_is_a_fault(written, manual_clock):
    with opened(written, manual_clock) as journal:
        tamper(written, "DROP TABLE journal")

        report = verify(journal)

    assert "no such table" in report.fault.reason


@pytest.mark.parametrize("seed", [0, 3])
def test_damaged_bytes_are_a_typed_error_or_found(written, manual_clock, seed):
    """A sample of the cuts and bit flips of the protocol's table: no row is lost unnoticed."""
    whole = written.read_bytes()
    damages = [whole[:cut] for cut in range(seed * 7, len(whole), 797)]
    damages += [
        whole[:at] + bytes([whole[at] ^ (1 << seed)]) + whole[at + 1 :]
        for at in range(seed * 5, len(whole), 411)
    ]
    outcomes = [_outcome(written, damaged, manual_clock) for damaged in damages]

    assert set(outcomes) <= {"harmless", "found", "typed"}
    assert "typed" in outcomes
    assert "found" in outcomes


def _outcome(path, damaged, clock):
    path.write_bytes(damaged)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    try:
        with opened(path, clock) as journal:
            report = verify(journal)
    except StateError:
        return "typed"
    if not report.is_whole:
        return "found"
    return "harmless" if report.rows == ROWS else "lost"
