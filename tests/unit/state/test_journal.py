"""The journal: durable, append-only, chained, one writer at a time, and honest about lost rows."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from gpuforge.errors import StateError
from gpuforge.state import journal as journal_module
from gpuforge.state.journal import GENESIS, Head, Journal, NewRow, RowKind, canonical, row_hash
from gpuforge.state.locks import exclusive


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.sqlite3"


@pytest.fixture
def head_path(path):
    return path.with_name("journal.head")


@pytest.fixture
def reopen(path, head_path, manual_clock):
    opened = []

    def again(**options):
        opened.append(Journal.open(path, head_path=head_path, clock=manual_clock, **options))
        return opened[-1]

    yield again
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(reopen):
    return reopen()


def reserve(cluster="uuid", epoch=0, **changes):
    return NewRow(kind=RowKind.RESERVE, cluster=cluster, epoch=epoch, **changes)


def tamper(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS journal_no_{verb}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_new_journal_has_a_random_id_in_its_first_row(journal, tmp_path, manual_clock):
    with Journal.open(tmp_path / "b.sqlite3", head_path=tmp_path / "b.head", clock=manual_clock) as other:
        assert len(journal.journal_id) == 32
        assert journal.journal_id != other.journal_id
    (first,) = journal.rows()
    assert first.kind is RowKind.LEASE
    assert first.body == {"journal": journal.journal_id}


def test_the_id_and_the_rows_survive_a_reopening(journal, reopen):
    journal.append([reserve(body={"text": "naïve\n'quote'; \udcff"})])

    again = reopen()

    assert again.journal_id == journal.journal_id
    assert again.rows() == journal.rows()
    assert again.rows()[-1].body["text"] == "naïve\n'quote'; \udcff"


def test_it_is_the_users_alone(journal, path):
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_it_writes_ahead_and_syncs_every_commit(journal):
    connection = journal._connection

    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


class Stubborn(sqlite3.Connection):
    """A file system that refuses what ``refuses`` names."""

    refuses: dict = {}  # noqa: RUF012 - set by the test

    def execute(self, statement, *values):
        return super().execute(self.refuses.get(statement, statement), *values)


def test_where_write_ahead_is_refused_it_deletes_with_extra_syncs(monkeypatch, path, head_path, manual_clock):
    refuses = {"PRAGMA journal_mode = WAL": "PRAGMA journal_mode = TRUNCATE"}
    monkeypatch.setattr(Stubborn, "refuses", refuses)
    real = sqlite3.connect
    monkeypatch.setattr(journal_module.sqlite3, "connect", lambda *a, **k: real(*a, factory=Stubborn, **k))

    with Journal.open(path, head_path=head_path, clock=manual_clock) as journal:
        assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert journal._connection.execute("PRAGMA synchronous").fetchone() == (3,)
        journal.append([reserve()])


@pytest.mark.parametrize(
    "refuses",
    [
        {
            "PRAGMA journal_mode = WAL": "PRAGMA journal_mode = OFF",
            "PRAGMA journal_mode = DELETE": "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = None": "PRAGMA synchronous",
        },
        {"PRAGMA synchronous = 2": "PRAGMA synchronous = OFF"},
    ],
)
def test_a_file_system_that_cannot_keep_it_durable_is_refused(
    monkeypatch, path, head_path, manual_clock, refuses
):
    monkeypatch.setattr(Stubborn, "refuses", refuses)
    real = sqlite3.connect
    monkeypatch.setattr(journal_module.sqlite3, "connect", lambda *a, **k: real(*a, factory=Stubborn, **k))

    with pytest.raises(StateError, match="cannot keep the journal durable"):
        Journal.open(path, head_path=head_path, clock=manual_clock)


def test_rows_are_chained_over_everything_they_hold(journal):
    journal.append([reserve(), reserve(node="n", attempt=3, body={"b": 1, "a": None})])

    prev = GENESIS
    for row in journal.rows():
        hashed = [row.seq, row.at, row.epoch, row.cluster, row.node, row.attempt, row.kind.value]
        assert row.prev == prev
        assert row.hash == row_hash(prev, [*hashed, canonical(row.body)])
        prev = row.hash


@pytest.mark.parametrize("statement", ["UPDATE journal SET node = 'x'", "DELETE FROM journal"])
def test_rows_cannot_be_changed_or_removed(journal, statement):
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        journal._connection.execute(statement)


def test_rows_of_one_append_come_together_or_not_at_all(journal):
    def fails(_position):
        raise StateError("no body could be made")

    with pytest.raises(StateError, match="no body"):
        journal.append([reserve(), fails])

    assert [row.kind for row in journal.rows()] == [RowKind.LEASE]


def test_a_row_may_be_built_from_its_own_place(journal):
    places = []

    def build(position):
        places.append(position)
        return reserve(body={"seq": position.seq})

    first, second = journal.append([reserve(), build])

    assert places[0].seq == second.seq == 3
    assert places[0].prev == first.hash == second.prev


def test_a_body_that_is_no_json_is_refused_without_a_trace(journal):
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.append([reserve(body={"x": float("nan")})])

    assert len(journal.rows()) == 1
    journal.append([reserve()])


def test_only_the_rows_of_one_cluster_when_asked(journal):
    journal.append([reserve("a"), reserve("b"), reserve("a")])

    assert [row.seq for row in journal.rows("a")] == [2, 4]


def test_clusters_with_an_open_reservation_are_found_without_reading_bodies(journal):
    def release(cluster):
        return NewRow(kind=RowKind.RELEASE, cluster=cluster, epoch=0)

    journal.append([reserve("a"), reserve("b"), release("a"), reserve("c"), reserve("b"), release("b")])

    assert journal.cluster_uuids() == ("b", "c")
    assert journal.cluster_uuids(include_closed=True) == ("a", "b", "c")


def test_a_newer_lease_refuses_rows_of_an_older_epoch(journal):
    old = journal.lease("uuid", {"verb": "up"})
    journal.append([reserve(epoch=old)])
    new = journal.lease("uuid", {"verb": "gc"})

    with pytest.raises(StateError, match="took this cluster over"):
        journal.append([reserve(epoch=old)])
    with pytest.raises(StateError, match="took this cluster over"):
        journal.check_epoch("uuid", old)
    journal.check_epoch("uuid", new)
    journal.append([reserve(epoch=new), reserve("another")])


def test_the_head_is_kept_outside_after_every_commit(journal, head_path):
    journal.append([reserve()])

    head = json.loads(head_path.read_text())
    assert (head["seq"], head["hash"]) == (2, journal.rows()[-1].hash)
    assert journal.remembered_head() == journal.tail() == Head(seq=2, hash=head["hash"])
    assert journal.behind == ""
    assert not head_path.with_name("journal.head.tmp").exists()


def test_a_crash_between_the_commit_and_the_head_is_no_loss(journal, head_path, reopen):
    before = head_path.read_bytes()
    journal.append([reserve()])
    head_path.write_bytes(before)

    assert reopen().behind == ""


def test_a_lost_tail_refuses_intents_and_reads_on(journal, path, reopen):
    journal.append([reserve(), reserve()])
    tamper(path, "DELETE FROM journal WHERE seq = 3")

    again = reopen()

    assert "ends at row 2, but row 3 had been written" in again.behind
    for kind in (RowKind.RESERVE, RowKind.INTENT):
        with pytest.raises(StateError, match="lost rows"):
            again.append([NewRow(kind=kind, cluster="x", epoch=0)])
    again.append([NewRow(kind=RowKind.GONE, cluster="x", epoch=0)])
    assert "row 3 is not the one" in again.behind
    assert len(again.rows()) == 3


def test_a_lost_tail_is_accepted_once_it_was_reconciled(journal, path, reopen):
    journal.append([reserve(), reserve()])
    tamper(path, "DELETE FROM journal WHERE seq = 3")
    again = reopen()

    again.accept()

    assert again.behind == ""
    again.append([reserve()])


def test_a_lost_database_is_behind_its_head(journal, path, reopen):
    journal.append([reserve()])
    journal.close()
    path.unlink()

    assert "row 2 had been written" in reopen().behind


def test_a_lost_head_is_noticed_too(journal, head_path, reopen):
    journal.append([reserve()])
    head_path.unlink()

    assert "journal.head is missing" in reopen().behind


def test_a_new_journal_may_not_have_its_head_yet(journal, head_path, reopen):
    head_path.unlink()

    assert reopen().behind == ""


def test_a_head_that_cannot_be_read_is_an_error(journal, head_path):
    head_path.write_text("{")

    with pytest.raises(StateError, match="damaged") as caught:
        journal.append([reserve()])

    assert "journal.head" in caught.value.details
    assert "audit verify" in caught.value.resolution


def test_a_head_that_cannot_be_written_stops_the_step(journal, head_path):
    head_path.with_name("journal.head.tmp").mkdir()

    with pytest.raises(StateError, match=r"head .* cannot be written"):
        journal.append([reserve()])


def test_a_full_disk_stops_the_step_and_leaves_no_half_row(journal):
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    before = journal.rows()

    with pytest.raises(StateError, match="cannot be used") as caught:
        journal.append([reserve(), reserve(body={"text": "x" * 100_000})])

    assert "full" in caught.value.details
    assert journal.rows() == before
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    journal.append([reserve()])


def test_another_writer_is_waited_for_and_then_reported(journal, path, reopen):
    impatient = reopen(busy_seconds=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StateError, match="cannot be used") as caught:
            impatient.append([reserve()])
        other.execute("ROLLBACK")

    assert "locked" in caught.value.details
    impatient.append([reserve()])


def test_an_opening_that_hangs_elsewhere_is_reported(journal, path, head_path, manual_clock):
    with (
        exclusive(path.with_name("journal.sqlite3.opening"), clock=manual_clock, wait_seconds=0),
        pytest.raises(StateError, match="keeps the journal from being opened"),
    ):
        Journal.open(path, head_path=head_path, clock=manual_clock)


def test_a_file_that_is_no_database_is_an_error(path, head_path, manual_clock):
    path.parent.mkdir()
    path.write_text("not a database, but a long enough text " * 100)

    with pytest.raises(StateError, match="cannot be used"):
        Journal.open(path, head_path=head_path, clock=manual_clock)


def test_a_folder_in_its_place_is_an_error(path, head_path, manual_clock):
    path.mkdir(parents=True)

    with pytest.raises(StateError, match="cannot be used"):
        Journal.open(path, head_path=head_path, clock=manual_clock)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE journal SET body = '{}' WHERE seq = 1", "first row does not name"),
        ("UPDATE journal SET body = '{\"journal\":7}' WHERE seq = 1", "first row does not name"),
        ("DELETE FROM journal WHERE seq = 1", "first row does not name"),
        ("UPDATE journal SET node = 'x' WHERE seq = 2", "last row was changed"),
        ("UPDATE journal SET kind = 'MARRIED' WHERE seq = 2", "row 2 cannot be read"),
        ("UPDATE journal SET body = '[]' WHERE seq = 2", "row 2 cannot be read"),
        ("UPDATE journal SET body = '{' WHERE seq = 2", "row 2 cannot be read"),
    ],
)
def test_a_damaged_journal_is_not_worked_with(journal, path, reopen, statement, message):
    journal.append([reserve()])
    tamper(path, statement)

    with pytest.raises(StateError, match="damaged") as caught:
        reopen()

    assert message in caught.value.details


def test_an_emptied_table_begins_again_and_is_behind(journal, path, reopen):
    journal.append([reserve()])
    tamper(path, "DELETE FROM journal")

    again = reopen()

    assert again.journal_id != journal.journal_id
    assert again.behind


def test_a_journal_of_a_newer_version_is_refused_by_number(journal, path, reopen):
    tamper(path, "PRAGMA user_version = 9")

    with pytest.raises(StateError, match=r"newer gpuforge \(schema 9\)") as caught:
        reopen()

    assert "upgrade" in caught.value.resolution


def test_raw_rows_come_unchecked(journal, path):
    journal.append([reserve()])
    tamper(path, "UPDATE journal SET kind = 'MARRIED' WHERE seq = 2")

    assert [values[6] for values in journal.raw_rows()] == ["LEASE", "MARRIED"]


def test_it_knows_its_file(journal, path):
    assert journal.path == path


def test_a_tail_of_nothing_is_the_genesis(journal, path):
    tamper(path, "DELETE FROM journal")

    assert journal.tail() == Head(seq=0, hash=GENESIS)


def test_threads_share_one_journal(journal):
    def write(number):
        for _ in range(5):
            journal.append([reserve(body={"number": number})])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [row.seq for row in journal.rows()] == list(range(1, 22))
    assert journal.behind == ""


_WRITER = """
import sys
from pathlib import Path
from gpuforge.models.clock import SystemClock
from gpuforge.state.journal import Journal, NewRow, RowKind
path = Path(sys.argv[1])
with Journal.open(path, head_path=path.with_name("journal.head"), clock=SystemClock()) as journal:
    for number in range(8):
        journal.append([NewRow(kind=RowKind.RESERVE, cluster=sys.argv[2], epoch=0)])
"""


def test_processes_that_begin_and_write_it_at_once_make_one_chain(path, reopen):
    path.parent.mkdir()
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), f"c{number}"]) for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]

    journal = reopen()
    rows = journal.rows()

    assert len(rows) == 1 + 3 * 8
    assert [row.prev for row in rows] == [GENESIS, *(row.hash for row in rows[:-1])]
    assert journal.remembered_head() == journal.tail()
