"""Migrations: stepwise, each whole or not at all, after a backup; never from a newer version."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from gpuforge.errors import StateError
from gpuforge.state.migrations import STEPS, migrate


def add_notes(connection):
    connection.execute("CREATE TABLE notes (text TEXT)")


def fail(connection):
    connection.execute("CREATE TABLE half (text TEXT)")
    raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def connection(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def tables(connection):
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def version(connection):
    return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_new_database_gets_the_newest_schema_without_a_backup(connection, path, tmp_path):
    migrate(connection, path)

    assert version(connection) == len(STEPS)
    assert "journal" in tables(connection)
    assert list(tmp_path.glob("*.bak")) == []


def test_the_newest_schema_is_left_as_it_is(connection, path, tmp_path):
    migrate(connection, path)
    migrate(connection, path)

    assert list(tmp_path.glob("*.bak")) == []


def test_an_older_one_is_backed_up_and_brought_forward_step_by_step(connection, path):
    migrate(connection, path)

    migrate(connection, path, steps=[*STEPS, add_notes])

    assert version(connection) == len(STEPS) + 1
    assert tables(connection) == {"journal", "notes"}
    backup = path.with_name(f"journal.sqlite3.schema{len(STEPS)}.bak")
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(backup)) as copy:
        assert tables(copy) == {"journal"}
        assert version(copy) == len(STEPS)


def test_a_step_that_fails_leaves_the_schema_of_the_step_before(connection, path):
    migrate(connection, path)

    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, path, steps=[*STEPS, add_notes, fail])

    assert version(connection) == len(STEPS) + 1
    assert tables(connection) == {"journal", "notes"}


def test_a_newer_one_is_refused_with_both_numbers(connection, path):
    connection.execute("PRAGMA user_version = 7")

    with pytest.raises(StateError, match="schema 7") as caught:
        migrate(connection, path)

    assert f"schemas up to {len(STEPS)}" in caught.value.details
    assert tables(connection) == set()
