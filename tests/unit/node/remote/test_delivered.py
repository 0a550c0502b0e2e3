"""Records of copies: whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuforge.node.remote.delivered import load_record, save_record
from gpuforge.node.remote.entries import encode


def test_records_are_whole_or_nothing(hand, tmp_path):
    path = str(tmp_path / "record")
    assert load_record(path).entries == {}
    save_record(path, {"tree": "x"}, encode([hand.file]))
    assert load_record(path).head["tree"] == "x"
    assert load_record(path).entries == {b"file": hand.file}
    Path(path).write_bytes(Path(path).read_bytes()[:-1])
    assert load_record(path).head == {}
    with pytest.raises(IsADirectoryError):
        save_record(str(tmp_path), {}, b"")
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.parent.glob("*.tmp"))
