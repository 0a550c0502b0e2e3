"""The decisions of pushes and pulls as pure functions: what is sent, deleted, kept, refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.node.remote.entries import Entry, same
from gpuforge.sync.plan import collisions, doubtful, leads_out, plan_pull, plan_push


def file(path: str, content: str = "x", mtime: int = 1, mode: int = 0o644) -> Entry:
    return Entry(path.encode(), b"f", mode, len(content), mtime, content.encode())


def folder(path: str) -> Entry:
    return Entry(path.encode(), b"d", 0o755, 0, 0)


def link(path: str, target: str) -> Entry:
    return Entry(path.encode(), b"l", 0, 0, 0, target.encode())


def view(*entries: Entry) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in entries}


def test_equal_content_with_another_time_only_changes_the_time():
    plan = plan_push([file("a", mtime=2)], view(file("a", mtime=1)), {b"a"})
    assert (plan.send, plan.make) == ((), (0,))


def test_equal_size_and_time_with_other_content_is_sent():
    assert plan_push([file("a", "new")], view(file("a", "old")), ()).send == (0,)


def test_a_file_without_a_digest_is_sent():
    there = file("a")._replace(extra=b"")
    assert plan_push([there], view(there), ()).send == (0,)


def test_deletions_go_deepest_first_and_only_for_what_is_owned():
    plan = plan_push([], view(folder("d"), file("d/x"), file("d/y"), folder("d/e")), {b"d/x"})
    assert plan.delete == (b"d/x", b"d/e", b"d")
    assert [path for path, _ in plan.kept] == ["d/y"]


def test_an_unowned_file_blocks_a_folder_and_all_below_it():
    plan = plan_push([folder("d"), file("d/x"), file("dx")], view(file("d")), ())
    assert [path for path, _ in plan.blocked] == ["d"]
    assert plan.left_out == {0, 1}
    assert plan.send == (2,)


def test_an_owned_file_makes_room_for_a_folder():
    plan = plan_push([folder("d"), file("d/x")], view(file("d")), {b"d"})
    assert (plan.delete, plan.make, plan.send) == ((b"d",), (0,), (1,))


def test_doubtful_files_are_those_the_other_side_sent_a_digest_for():
    entries = [file("a"), file("b"), file("c"), folder("d")]
    assert doubtful(entries, view(file("a"), file("b")._replace(extra=b""), folder("c"), folder("d"))) == [0]


kinds = st.sampled_from(
    [file("x", "1"), file("x", "2"), file("x", "1", mtime=9), folder("x"), link("x", "t")]
)
entries = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), kinds).map(
    lambda rows: [entry._replace(path=name.encode()) for name, entry in sorted(rows.items())]
)


@given(local=entries, there=entries, owned=st.sets(st.sampled_from([b"a", b"b", b"c", b"d"])))
def test_carrying_a_plan_out_makes_both_sides_equal_and_harms_nothing_unowned(local, there, owned):
    state = view(*there)
    plan = plan_push(local, dict(state), owned)
    for path in plan.delete:
        assert path in owned or state[path].kind == b"d"
        del state[path]
    for index in (*plan.make, *plan.send):
        state[local[index].path] = local[index]
    for index, entry in enumerate(local):
        assert index in plan.left_out or state[entry.path] == entry
    wanted = {entry.path for entry in local}
    assert {path for path in state if path not in wanted} == {path.encode() for path, _ in plan.kept}
    again = plan_push(
        [entry for index, entry in enumerate(local) if index not in plan.left_out], state, wanted
    )
    assert (again.make, again.send) == ((), ())


@pytest.mark.parametrize(
    ("here", "pulled", "pushed", "expected"),
    [
        (None, None, None, "fetch"),
        (file("x", "new"), file("x", "new"), None, "same"),
        (file("x", "old", 1), file("x", "old", 1), None, "fetch"),
        (file("x", "old", 1), None, file("x", "old", 1), "fetch"),
        (file("x", "new"), None, file("x", "new"), "same"),
        (file("x", "old", 5), file("x", "old", 1), None, "ask"),
        (file("x", "longer", 5), file("x", "old", 1), None, "skipped"),
        (folder("x"), None, None, "skipped"),
    ],
)
def test_a_pull_decides_by_what_was_last_copied(here, pulled, pushed, expected):
    there = file("x", "new", 1) if expected == "same" else file("x", "new", 7)
    here, pulled, pushed = (view(entry) if entry else {} for entry in (here, pulled, pushed))
    plan = plan_pull([there], here, pulled, pushed)
    chosen = [name for name in ("fetch", "same", "ask", "skipped") if getattr(plan, name)]
    assert chosen == [expected]


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        ("a/l", "b", False),
        ("a/l", "../b", False),
        ("a/l", "../../b", True),
        ("l", "..", True),
        ("l", "/b", True),
    ],
)
def test_links_that_lead_out_are_told(path, target, out):
    assert leads_out(link(path, target)) is out


def test_names_that_fold_to_one_are_paired():
    rows = [file("Read.me"), file("read.me"), file("cafe\u0301"), file("café"), file("other")]
    assert [(a.decode(), b.decode()) for a, b in collisions(rows)] == [
        ("Read.me", "read.me"),
        ("cafe\u0301", "café"),
    ]


@given(
    st.lists(st.sampled_from([file("a"), file("a", mtime=2), folder("a"), link("a", "x"), link("a", "y")]))
)
def test_same_is_equality_of_what_a_stat_shows(rows):
    for one in rows:
        for two in rows:
            assert same(one, two) == (one[:5] == two[:5] and (one.kind != b"l" or one.extra == two.extra))
