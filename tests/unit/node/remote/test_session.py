"""A session against a client that speaks nonsense, breaks off, or asks for a place it may not have."""

from __future__ import annotations

import pytest

from gpuforge.node.remote.wire import frame, message


def test_other_protocols_are_refused(hand):
    for said in (b"H\0\0\0\2{}", hand.hello(version=2), hand.hello("dance"), frame(b"Q")):
        code, answers = hand.serve(said)
        assert code == 1
        assert "another version" in hand.reason(answers)


def test_an_unexpected_frame_is_refused_and_a_cut_is_not_answered(hand):
    code, answers = hand.serve(hand.hello(), frame(b"Q"))
    assert (code, hand.reason(answers)) == (1, "unexpected frame")
    assert hand.serve(hand.hello()[:-3])[0] == 2
    begun = [hand.hello(), hand.manifest(hand.file), hand.orders()]
    assert hand.serve(*begun)[0] == 2
    assert hand.serve(*begun, hand.small(0, b"data")[:-2])[0] == 2
    assert hand.serve()[0] == 0


def test_a_folder_for_records_that_cannot_be_made_is_said(hand, home):
    (home / ".gpuforge").write_text("not a folder")
    code, answers = hand.serve(hand.hello(), hand.manifest(hand.file))
    assert code == 1
    assert "Not a directory" in hand.reason(answers)


@pytest.mark.parametrize("root", ["/etc", "../x", "~/../x", "a/../../x"])
def test_roots_outside_are_refused(hand, root):
    code, answers = hand.serve(hand.hello(root=root))
    assert code == 1
    assert "isolation level 0" in hand.reason(answers)


def test_a_file_where_the_root_must_be_is_refused(hand, home):
    (home / "workdir").write_text("x")
    assert "stands in the way" in hand.reason(hand.serve(hand.hello(), hand.manifest())[1])
    (home / "workdir").unlink()
    assert "No such file" in hand.reason(hand.serve(hand.hello("pull", patterns=["x"]))[1])


def test_the_home_itself_can_be_a_root_by_every_name(hand, home):
    nothing = message(b"Q", {"fetch": [], "same": []})
    for root in ("~", "~/", "", str(home.resolve())):
        assert hand.serve(hand.hello("pull", root=root, patterns=[]), nothing)[0] == 0
