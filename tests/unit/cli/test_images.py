"""``images`` lists image families, and filters."""

from __future__ import annotations


def test_the_table_names_framework_and_driver(gpuforge, no_machines):
    """One family a line."""
    header, *rows = gpuforge("images", "pytorch", "--provider", "fake").out.splitlines()

    assert header.split()[0] == "IMAGE"
    assert rows
    assert all("pytorch" in row for row in rows)


def test_the_list_is_a_document(gpuforge, no_machines):
    """What an image lacks is null."""
    rows = gpuforge("images", "--json").document["data"]

    assert {"fake"} < {row["provider"] for row in rows}
    assert all(row["framework"] != "" for row in rows)


def test_no_match_is_said(gpuforge, no_machines):
    """Exit 66 instead of an empty table."""
    result = gpuforge("images", "nosuch")

    assert result.code == 66
    assert result.err.startswith("error: no image matches 'nosuch'\n")
