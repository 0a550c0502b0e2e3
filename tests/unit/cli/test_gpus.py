"""``gpus`` lists what can be rented, and filters."""

from __future__ import annotations


def test_the_table_names_price_and_place(gpuforge, no_machines):
    """Units everywhere; the date of the prices apart from the answer."""
    result = gpuforge("gpus", "L4", "--provider", "fake")

    header, *rows = result.out.splitlines()
    assert header.split("  ")[0] == "GPU"
    assert any(row.startswith("L4") and "sim-l4 " in row and "/h" in row for row in rows)
    assert result.err.startswith("prices of 20")


def test_the_list_is_a_document(gpuforge, no_machines):
    """Unknown is null with a reason, never 0."""
    rows = gpuforge("gpus", "--json").document["data"]

    assert {"fake"} < {row["provider"] for row in rows}
    for row in rows:
        for kind in ("on_demand", "spot"):
            assert row[f"{kind}_usd_per_hour"] is not None or row[f"{kind}_note"]


def test_a_gpu_nobody_knows_is_refused(gpuforge, no_machines):
    """With what there is."""
    result = gpuforge("gpus", "nosuch")

    assert result.code in {64, 66}
    assert "nosuch" in result.err
    assert "H100" in result.err


def test_an_unknown_provider_is_refused(gpuforge, no_machines):
    """With the one that was meant."""
    result = gpuforge("gpus", "--provider", "fke")

    assert result.code == 64
    assert "did you mean fake?" in result.err
