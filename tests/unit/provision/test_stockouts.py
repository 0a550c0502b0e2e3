"""Stock-outs are remembered for minutes, shared by processes, and never in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from gpuforge.provision.stockouts import Stockouts
from gpuforge.testing.clock import ManualClock

HOSTILE = "fake/zone; rm -rf 'x'\n\"ü\"/sim l4/spot"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a folder" / "stock outs.json"


def test_nothing_is_known_before_the_first(path, clock):
    assert Stockouts(path, clock).known() == {}


@pytest.mark.parametrize("key", ["fake/z/t/on_demand", HOSTILE])
def test_another_command_knows_what_was_met(path, clock, key):
    Stockouts(path, clock).remember(key)
    assert Stockouts(path, clock).known() == {key: clock.now()}


def test_it_is_forgotten_after_five_minutes(path, clock):
    stockouts = Stockouts(path, clock)
    stockouts.remember("a")
    clock.advance(299)
    assert list(stockouts.known()) == ["a"]
    clock.advance(1)
    assert stockouts.known() == {}


def test_the_file_does_not_grow_with_what_was_forgotten(path, clock):
    stockouts = Stockouts(path, clock)
    stockouts.remember("a")
    clock.advance(600)
    stockouts.remember("b")
    assert list(json.loads(path.read_text())) == ["b"]


def test_meeting_it_again_renews_it(path, clock):
    stockouts = Stockouts(path, clock)
    stockouts.remember("a")
    clock.advance(240)
    stockouts.remember("a")
    clock.advance(240)
    assert list(stockouts.known()) == ["a"]


def test_how_long_can_be_set(path, clock):
    stockouts = Stockouts(path, clock, remembered=timedelta(minutes=1))
    stockouts.remember("a")
    clock.advance(60)
    assert stockouts.known() == {}


def test_an_entry_from_the_future_is_ignored(path, clock):
    Stockouts(path, clock).remember("a")
    clock.jump(-3600)
    assert Stockouts(path, clock).known() == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a": 1}', b'{"a": "yesterday"}', b'{"a": null}'],
)
def test_a_corrupt_file_counts_as_empty_and_is_mended(path, clock, content):
    path.parent.mkdir()
    path.write_bytes(content)
    stockouts = Stockouts(path, clock)
    assert stockouts.known() == {}
    stockouts.remember("b")
    assert list(stockouts.known()) == ["b"]


def test_one_bad_entry_does_not_hide_the_good_ones(path, clock):
    path.parent.mkdir()
    path.write_text('{"a": "bad", "b": "2026-01-01T00:00:00Z", "c": "2026-01-01T00:00:00"}')
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    assert Stockouts(path, clock).known() == {"b": midnight, "c": midnight}


def test_a_folder_in_its_place_counts_as_empty(path, clock):
    path.mkdir(parents=True)
    assert Stockouts(path, clock).known() == {}


def test_no_temporary_file_is_left(path, clock):
    Stockouts(path, clock).remember("a")
    assert {p.name for p in path.parent.iterdir()} <= {path.name, f"{path.name}.lock"}


def test_a_full_disk_leaves_the_old_file_and_no_rest_and_ends_nothing(path, clock, monkeypatch):
    stockouts = Stockouts(path, clock)
    stockouts.remember("a")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    stockouts.remember("b")
    assert list(stockouts.known()) == ["a"]
    assert {p.name for p in path.parent.iterdir()} <= {path.name, f"{path.name}.lock"}


def test_two_processes_at_once_lose_nothing(path):
    program = (
        "import sys; from pathlib import Path; from gpuforge.models.clock import SystemClock;"
        "from gpuforge.provision.stockouts import Stockouts;"
        "stockouts = Stockouts(Path(sys.argv[1]), SystemClock());"
        "[stockouts.remember(f'{sys.argv[2]}{n}') for n in range(15)]"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("a", "b")]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert len(json.loads(path.read_text())) == 30
