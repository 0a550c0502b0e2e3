"""Lines fit their terminal and lose nothing that matters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuforge.cli.layout import fit, labelled, plain, table, three_columns

ROWS = [("1 × sim-l4", "L4 × 1 · 4 vCPU", "sim-central1-a"), ("price", "$0.71/h", "at most $4.31")]


def test_three_columns_stand_side_by_side_where_they_fit():
    """Notes are aligned behind the longest text."""
    assert three_columns(ROWS, None) == [
        "  1 × sim-l4    L4 × 1 · 4 vCPU   sim-central1-a",
        "  price         $0.71/h           at most $4.31",
    ]


def test_notes_go_below_their_texts_on_a_narrow_terminal():
    """Nothing is cut."""
    assert three_columns(ROWS, 40) == [
        "  1 × sim-l4    L4 × 1 · 4 vCPU",
        "                sim-central1-a",
        "  price         $0.71/h",
        "                at most $4.31",
    ]


def test_a_long_label_moves_every_text():
    """Columns stay columns."""
    lines = three_columns([("1 × sim-h100-mega-8x", "H100", "here"), ("image", "pytorch", "")], None)

    assert lines == ["  1 × sim-h100-mega-8x H100   here", "  image                pytorch"]


def test_lists_wrap_between_parts_only():
    """A command is never torn apart."""
    parts = ["gpuforge logs 1", "gpuforge ssh train", "gpuforge down train"]

    assert labelled("next", parts, 56) == [
        "  next          gpuforge logs 1 · gpuforge ssh train",
        "                gpuforge down train",
    ]
    assert labelled("next", parts, None) == [f"  next          {' · '.join(parts)}"]
    assert labelled("next", [], 80) == ["  next"]


@given(st.lists(st.text("ab ", min_size=1, max_size=30), max_size=8), st.integers(30, 120))
def test_wrapping_keeps_every_part_in_order(parts, width):
    """Whatever the width."""
    text = "\n".join(labelled("x", parts, width))

    at = 0
    for part in parts:
        at = text.index(part.rstrip(), at) + len(part.rstrip())


def test_tables_are_aligned_and_cut_to_the_terminal():
    """The cut shows that something is missing."""
    rows = [("train", "running"), ("a-longer-name", "failed: out of memory")]

    assert table(("NAME", "STATE"), rows, 24) == [
        "NAME           STATE",
        "train          running",
        "a-longer-name  failed: …",
    ]
    assert table(("NAME", "STATE"), rows, None)[2] == "a-longer-name  failed: out of memory"
    assert table(("NAME",), [], None) == ["NAME"]


def test_signs_become_words_where_the_stream_has_none():
    """What has no plain form is escaped, never dropped, never an error."""
    assert plain("✓ 2 × L4 — ok…", "ascii") == "ok 2 x L4 - ok..."
    assert plain("naïve ☃", "ascii") == "na\\xefve \\u2603"
    assert plain("name-\udcff", "utf-8") == "name-\\udcff"
    assert plain("✓", "utf-8") == "✓"


def test_fitting_never_exceeds_the_width():
    """Also where there is hardly any."""
    assert [fit("abcdef", width) for width in (6, 5, 1)] == ["abcdef", "abcd…", "…"]
