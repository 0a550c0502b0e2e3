"""The node's end of a pull: globs, digests, then files."""

from __future__ import annotations

import json
from hashlib import blake2b

from gpuforge.node.remote.entries import decode, tree_digest
from gpuforge.node.remote.serve import expand
from gpuforge.node.remote.wire import message, unpack


def test_a_pull_by_hand_answers_digests_then_files(hand, home):
    (home / "workdir").mkdir()
    (home / "workdir" / "a").write_text("one")
    code, answers = hand.serve(
        hand.hello("pull", patterns=["a", "z"]),
        message(b"Q", {"digest": [0]}),
        message(b"Q", {"fetch": [], "same": [0]}),
    )
    assert code == 0
    assert hand.rows(answers) == [["z", "nothing on the machine matches"]]
    found = dict(answers)
    digest = blake2b(b"one", digest_size=16).hexdigest()
    assert json.loads(found[b"G"]) == {"0": digest}
    (entry,) = decode(unpack(found[b"M"]))
    assert json.loads(found[b"D"])["tree"] == tree_digest([entry._replace(extra=digest.encode())])


def test_globs_stay_inside_and_skip_hidden_names(tree, home):
    for path in ("a/x.pt", "a/.h.pt", "b/c/y.pt", ".cache/z.pt", "a/[q].pt"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text("x")
    assert list(expand(tree, b"**/*.pt")) == [b"a/[q].pt", b"a/x.pt", b"b/c/y.pt"]
    assert list(expand(tree, b"a/*")) == [b"a/[q].pt", b"a/x.pt"]
    assert list(expand(tree, b"a/.*")) == [b"a/.h.pt"]
    assert list(expand(tree, b"a/x.pt/*")) == []
    assert list(expand(tree, b"b/")) == [b"b"]
