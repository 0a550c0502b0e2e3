"""Small files of the node: whole or nothing."""

from __future__ import annotations

from gpuforge.node.remote.files import read_json, write_json


def test_json_that_is_not_there_or_not_whole_is_none(tmp_path):
    torn = tmp_path / "torn"
    torn.write_text('{"a": ')
    listed = tmp_path / "list"
    listed.write_text("[1]")

    found = [read_json(str(path)) for path in (tmp_path / "absent", torn, listed, torn / "below")]

    assert found == [None] * 4


def test_writing_json_replaces_the_file_and_leaves_nothing_else(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for value in ({"a": 1}, {"b": "é"}):
        write_json(str(folder / "file"), value)

    assert read_json(str(folder / "file")) == {"b": "é"}
    assert [path.name for path in folder.iterdir()] == ["file"]
