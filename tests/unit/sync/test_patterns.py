"""Ignore patterns mean what git means: examples of its manual, and any pattern against git itself."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuforge.sync.patterns import Patterns, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "ignored", "kept"),
    [
        ("hello.*", ["hello.txt", "a/hello.c"], ["hello", "a/ahello.c"]),
        ("/hello.*", ["hello.txt"], ["a/hello.c"]),
        ("doc/frotz", ["doc/frotz"], ["a/doc/frotz", "frotz"]),
        ("**/foo", ["foo", "a/b/foo"], ["foo/x"]),
        ("***/foo", ["foo", "a/b/foo"], ["foo/x"]),
        ("a**/foo", ["a/foo", "a/b/foo", "ab/c/foo"], ["foo", "b/a/foo"]),
        ("?**/foo", ["a/foo", "ab/foo"], ["a/b/foo"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "b"]),
        ("abc/**", ["abc/x", "abc/x/y"], ["abc"]),
        ("a**b", ["ab", "x/a1b"], ["a/b"]),
        ("[a-c]?[!x]", ["azz", "d/czy"], ["azx", "dzz", "az"]),
        (r"\!x", ["!x"], ["x"]),
        (r"\#x", ["#x"], ["x"]),
        (r"x\ ", ["x "], ["x"]),
        ("x  ", ["x"], ["x  "]),
        (r"a\*b", ["a*b"], ["axb"]),
        ("[]]", ["]"], ["["]),
        ("[[:digit:]]", ["1"], ["a", ":"]),
        ("[^a]", ["b"], ["a"]),
        ("[a^]", ["^", "a"], ["b"]),
        ("x\r", ["x"], ["x\r"]),
    ],
)
def test_examples(pattern, ignored, kept):
    rules = Patterns([pattern.encode()])
    assert [path for path in ignored if not rules.ignores(path.encode())] == []
    assert [path for path in kept if rules.ignores(path.encode())] == []


@pytest.mark.parametrize("line", [b"", b"   ", b"# note", b"/", b"a[b", b"a\\"])
def test_lines_that_never_match(line):
    assert parse_pattern(line) is None


def test_the_last_match_wins_and_a_slash_at_the_end_means_folders():
    rules = Patterns([b"*.log", b"!keep.log", b"data/"])
    assert not rules.ignores(b"keep.log")
    assert rules.ignores(b"data", is_folder=True)
    assert not rules.ignores(b"data")


NAMES = ["a", "b", "c.log", "d d", "é", "[x", "a*b", "!n", "#c", "-", "^"]
PATHS = NAMES + [f"{one}/{two}" for one in NAMES[:4] for two in NAMES] + [f"a/b/{two}" for two in NAMES]
segments = st.one_of(
    st.sampled_from(
        [*NAMES[:5], "*", "*.log", "?", "**", "[ab]", "[!a]", "a*", r"\!n", "[^a-c]", "a[", r"\#c"]
    ),
    st.text("ab*?[]!^-\\.", min_size=1, max_size=5),
)
lines = st.builds(
    lambda bang, lead, parts, tail: bang + lead + "/".join(parts) + tail,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(segments, min_size=1, max_size=3),
    st.sampled_from(["", "/", " "]),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(lines, max_size=5))
def test_any_pattern_means_what_git_means(repository, text):
    (repository / ".gitignore").write_text("\n".join(text))
    rules = Patterns([os.fsencode(line) for line in text])

    def is_left_out(path: str) -> bool:  # a folder that is left out takes all below with it
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts) - 1)]
        return any(rules.ignores(os.fsencode(folder), is_folder=True) for folder in above) or rules.ignores(
            os.fsencode(path)
        )

    done = subprocess.run(
        ["git", "-C", repository, "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(PATHS),
        text=True,
        capture_output=True,
        check=False,
    )
    assert {path for path in PATHS if is_left_out(path)} == set(filter(None, done.stdout.split("\0")))
