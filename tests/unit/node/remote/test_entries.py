"""Entries as bytes and as a digest, and names that stay in their folder."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuforge.node.remote.entries import Entry, check_name, decode, encode, encode_both, tree_digest

paths = st.lists(
    st.binary(min_size=1, max_size=5).filter(lambda raw: not set(raw) & set(b"\0/")), min_size=1
).map(b"/".join)
entries = st.builds(
    Entry,
    paths,
    st.sampled_from([b"f", b"d", b"l"]),
    st.integers(0, 0o777),
    st.integers(0, 2**50),
    st.integers(-(2**60), 2**60),
    st.sampled_from([b"", b"00ff", b"target"]),
)


@given(st.lists(entries))
def test_what_is_encoded_is_decoded(found):
    assert decode(encode(found, digests=True)) == found
    bare = [entry if entry.kind == b"l" else entry._replace(extra=b"") for entry in found]
    assert decode(encode(found)) == bare
    assert encode_both(found) == (encode(found), encode(found, digests=True))


@given(st.lists(entries, unique_by=lambda entry: entry.path), st.randoms())
def test_the_tree_digest_ignores_order_and_times_and_nothing_else(found, draw):
    digest = tree_digest(found)
    shuffled = [entry._replace(mtime=0) for entry in found]
    draw.shuffle(shuffled)
    assert tree_digest(shuffled) == digest
    if found:
        changed = [found[0]._replace(mode=found[0].mode ^ 0o100), *found[1:]]
        assert tree_digest(changed) != digest
        assert tree_digest(found[1:]) != digest


@given(paths)
def test_ordinary_names_pass(path):
    if not {b".", b".."} & set(path.split(b"/")):
        check_name(path)
