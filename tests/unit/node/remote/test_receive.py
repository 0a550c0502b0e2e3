"""The node's end of a push against a client that lies or breaks off."""

from __future__ import annotations

import errno
import json
import os
from hashlib import blake2b

import pytest

from gpuforge.node.remote.entries import Entry, encode, state_digest, tree_digest
from gpuforge.node.remote.wire import BEGIN, frame, message


def test_a_push_by_hand_ends_with_the_receiver_s_own_digest(hand, home):
    held = hand.file._replace(extra=blake2b(b"data", digest_size=16).hexdigest().encode())
    finish = message(b"Z", {"tree": tree_digest([held]), "pairs": []})
    code, answers = hand.serve(
        hand.hello(), hand.manifest(hand.file), hand.orders(), hand.small(0, b"data"), finish
    )
    assert code == 0
    assert [kind for kind, _ in answers] == [b"V", b"O", b"D"]
    assert json.loads(answers[-1][1])["tree"] == tree_digest([held])
    assert (home / "workdir" / "file").read_bytes() == b"data"
    state = state_digest(encode([hand.file]))
    code, answers = hand.serve(hand.hello(manifest=False, state=state))
    assert json.loads(answers[0][1]) == {"same": True, "tree": tree_digest([held])}


@pytest.mark.parametrize("name", [b"../up", b"/etc/x", b"a/../../b", b"a//b", b"./a", b"..", b"a/.", b""])
def test_names_that_leave_are_refused_before_anything_is_written(hand, home, name):
    code, answers = hand.serve(hand.hello(), hand.manifest(hand.file._replace(path=name)))
    assert code == 1
    assert "would leave its folder" in hand.reason(answers)
    assert list((home / "workdir").iterdir()) == []
    assert not (home.parent / "up").exists()


def test_deletions_that_leave_are_refused(hand, home):
    (home.parent / "precious").write_text("x")
    code, answers = hand.serve(hand.hello(), hand.manifest(), hand.orders(delete=["../precious"]))
    assert code == 1
    assert "would leave its folder" in hand.reason(answers)
    assert (home.parent / "precious").exists()


def test_damaged_content_never_takes_the_name(hand, home):
    code, answers = hand.serve(
        hand.hello(),
        hand.manifest(hand.file),
        hand.orders(),
        hand.small(0, b"data", digest=bytes(16)),
        message(b"Z", {"tree": "", "pairs": []}),
    )
    assert code == 0
    assert (
        hand.rows(answers) == [["file", "its content arrived damaged"]] or hand.rows(answers)[0][0] == "file"
    )
    assert list((home / "workdir").iterdir()) == []


def test_a_large_file_in_pieces_arrives_and_one_given_up_does_not(hand, home):
    data = os.urandom(3_000_000)
    entries = [Entry(b"big", b"f", 0o640, len(data), 7), Entry(b"given up", b"f", 0o644, 9, 7)]
    begin = BEGIN
    code, answers = hand.serve(
        hand.hello(),
        hand.manifest(*entries),
        hand.orders(),
        frame(b"B", begin.pack(0, 0o640, 7, len(data))),
        *[frame(b"C", data[at : at + 1_000_000]) for at in range(0, len(data), 1_000_000)],
        frame(b"E", blake2b(data, digest_size=16).digest()),
        frame(b"B", begin.pack(1, 0o644, 7, 9)),
        frame(b"C", b"half"),
        frame(b"X"),
        message(b"Z", {"tree": "", "pairs": []}),
    )
    assert (code, hand.rows(answers)) == (0, [])
    assert (home / "workdir" / "big").read_bytes() == data
    assert [path.name for path in (home / "workdir").iterdir()] == ["big"]


def test_names_the_disk_cannot_hold_are_rows(hand, home):
    long = Entry(b"x" * 256, b"f", 0o644, 4, 5)
    begin = BEGIN
    code, answers = hand.serve(
        hand.hello(),
        hand.manifest(long, hand.file),
        hand.orders(),
        hand.small(0, b"data"),
        frame(b"B", begin.pack(0, 0o644, 7, 9)),
        frame(b"C", b"nine byte"),
        frame(b"E", blake2b(b"nine byte", digest_size=16).digest()),
        hand.small(1, b"data"),
        message(b"Z", {"tree": "", "pairs": []}),
    )
    assert code == 0
    assert {why for _, why in hand.rows(answers)} == {
        "a name the other side cannot hold (File name too long)"
    }
    assert [path.name for path in (home / "workdir").iterdir()] == ["file"]


def test_a_refused_deletion_is_a_row(hand, home, monkeypatch):
    (home / "workdir").mkdir()
    (home / "workdir" / "x").write_text("x")
    real = os.unlink

    def refuse(path, **named):
        if path == b"x":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(path, **named)

    monkeypatch.setattr(os, "unlink", refuse)
    _, answers = hand.serve(
        hand.hello(), hand.manifest(), hand.orders(delete=["x"]), message(b"Z", {"tree": "", "pairs": []})
    )
    assert hand.rows(answers) == [["x", "Permission denied"]]


def test_a_folder_that_cannot_be_made_is_a_row_and_so_is_all_below(hand, home):
    (home / "workdir").mkdir()
    (home / "workdir" / "d").write_text("in the way")
    found = [Entry(b"d", b"d", 0o755, 0, 0), Entry(b"d/x", b"f", 0o644, 4, 5)]
    _, answers = hand.serve(
        hand.hello(),
        hand.manifest(*found),
        hand.orders(make=[0]),
        hand.small(1, b"data"),
        message(b"Z", {"tree": "", "pairs": []}),
    )
    why = "a file or symlink stands where its folder must go; symlinks are never followed"
    assert hand.rows(answers) == [["d", why], ["d/x", why]]
