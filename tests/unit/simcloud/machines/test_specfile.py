"""``machine.json`` and its neighbours survive the trip to disk, and damage is noticed."""

from __future__ import annotations

import pytest

from gpuforge.errors import StateError
from gpuforge.simcloud.machines import specfile
from gpuforge.testing.machines import machine_spec


@pytest.mark.parametrize("accelerator", [None, ("A100", 40, 8)])
def test_a_spec_comes_back_as_it_was(tmp_path, accelerator):
    spec = machine_spec(
        tmp_path,
        public_key="ssh-ed25519 AAAA",
        accelerator=accelerator,
        labels={"käse": "a;b\n\"'"},
        metadata={"k": "v"},
    )
    spec.folder.mkdir(parents=True)
    specfile.write_spec(spec)
    assert specfile.read_spec(spec.folder) == spec


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"instance_id": "1"}'])
def test_a_missing_or_damaged_spec_is_an_error_that_names_the_file(tmp_path, text):
    if text is not None:
        (tmp_path / "machine.json").write_text(text)
    with pytest.raises(StateError, match=r"machine\.json"):
        specfile.read_spec(tmp_path)


def test_markers_differ_and_come_back(tmp_path):
    first = specfile.new_marker(tmp_path, "9")
    second = specfile.new_marker(tmp_path, "9")
    assert first != second
    assert specfile.read_marker(tmp_path, "9") == second


@pytest.mark.parametrize("text", ["", "9-", "9", "10-0123456789abcdef", "8-0123456789abcdef"])
def test_a_damaged_marker_is_no_marker(tmp_path, text):
    (tmp_path / "marker").write_text(text)
    assert specfile.read_marker(tmp_path, "9") is None


def test_no_marker_where_nothing_was_started(tmp_path):
    assert specfile.read_marker(tmp_path, "9") is None


def test_a_record_comes_back_and_damage_is_nothing(tmp_path):
    path = tmp_path / "record.json"
    assert specfile.read_record(path) is None
    specfile.write_record(path, pid=3, ticks="44")
    assert specfile.read_record(path) == (3, "44")
    path.write_text("{}")
    assert specfile.read_record(path) is None
