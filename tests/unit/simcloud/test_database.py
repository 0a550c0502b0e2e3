"""The cloud's file: made once by whoever comes first, whole transactions, typed errors."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading

import pytest

from gpuforge.errors import StateError
from gpuforge.simcloud.database import Database


def _first(db):
    db.execute("INSERT INTO meta (key, value) VALUES ('network', '127.1.2')")


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "cl oud;ü", first=_first)
    yield database
    database.close()


def _network(database):
    with database.read() as db:
        return db.execute("SELECT value FROM meta WHERE key='network'").fetchone()[0]


def test_the_first_use_makes_it_and_says_so(database):
    assert not database.exists()
    assert _network(database) == "127.1.2"
    assert database.exists()
    assert (database.folder.stat().st_mode & 0o777) == 0o700


def test_it_is_in_wal_mode_so_readers_never_wait(database):
    with database.write() as writer:
        writer.execute("INSERT INTO meta VALUES ('a', '1')")
        assert _network(database) == "127.1.2"
    with database.read() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_transaction_that_fails_leaves_nothing(database):
    with pytest.raises(sqlite3.IntegrityError), database.write() as db:
        db.executemany("INSERT INTO meta VALUES (?, '1')", [("a",), ("a",)])
    with database.read() as db:
        assert db.execute("SELECT COUNT(*) FROM meta").fetchone()[0] == 1


def test_without_a_filler_a_missing_file_is_an_error_and_stays_missing(tmp_path):
    database = Database(tmp_path)
    with pytest.raises(sqlite3.OperationalError), database.read():
        pass
    assert not database.exists()


def test_a_file_from_a_newer_version_is_refused(database):
    with database.write() as db:
        db.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StateError, match="newer gpuforge") as caught, database.read():
        pass
    assert "reset" in caught.value.resolution


def test_a_file_that_is_no_database_is_a_typed_error(database):
    database.folder.mkdir()
    database.path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StateError, match="cannot be used"), database.read():
        pass


def test_a_file_that_vanished_is_made_again(database):
    _network(database)
    with database.write() as db:
        db.execute("INSERT INTO meta VALUES ('a', '1')")
    for path in database.folder.iterdir():
        path.unlink()
    with database.read() as db:
        assert db.execute("SELECT COUNT(*) FROM meta").fetchone()[0] == 1


def test_many_threads_write_without_losing_one(database):
    def add(number):
        with database.write() as db:
            db.execute("INSERT INTO meta VALUES (?, '')", (f"k{number}",))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as db:
        assert db.execute("SELECT COUNT(*) FROM meta").fetchone()[0] == 21


def test_processes_that_come_first_together_make_one_cloud(tmp_path):
    script = (
        "import sys, os\nfrom pathlib import Path\nfrom gpuforge.simcloud.database import Database\n"
        "def first(db): db.execute(\"INSERT INTO meta VALUES ('network', ?)\", (str(os.getpid()),))\n"
        "d = Database(Path(sys.argv[1]), first=first)\n"
        "sys.stdin.readline()\n"
        "with d.read() as db: print(db.execute('SELECT value FROM meta').fetchone()[0])\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "cloud")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=60)[0] for process in started}
    assert len(answers) == 1
    assert answers != {""}


def test_the_module_loads_nothing_heavy():
    code = (
        "import sys, gpuforge.simcloud.link\n"
        "print(*[m for m in ('pydantic', 'paramiko', 'rich', 'click', 'asyncssh') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
