"""``plan`` shows what would be rented and changes nothing."""

from __future__ import annotations


def test_a_plan_from_flags_needs_no_task_file(gpuforge, no_machines):
    """The whole screen but for its dates; on stdout, since it is the answer."""
    result = gpuforge("plan", "--gpus", "L4:1", "-c", "x", "--max-duration", "2h")

    lines = result.out.splitlines()
    assert result.code == 0
    assert lines[:2] == ["x on fake — simulated: nothing is billed", ""]
    assert lines[2] == "  1 × sim-l4    L4 × 1 · 4 vCPU · 16 GiB · 50 GB disk   sim-central1-a"
    assert lines[3].startswith("  image         pytorch-")
    assert lines[4].startswith("  price         $0.72/h on demand, as of 20")
    assert lines[4].endswith(" (2 h limit)")
    assert lines[5].startswith("  not chosen    sim-l4 in sim-central1-b ($0.72/h) · ")
    assert lines[5].endswith(" more: gpuforge plan -v")
    assert lines[6:] == [""]
    assert result.err == ""


def test_a_plan_leaves_nothing_behind(gpuforge, no_machines, gpuforge_home):
    """No journal, no cluster."""
    gpuforge("plan", "--gpus", "L4:1")

    assert not (gpuforge_home / "state" / "journal.sqlite3").exists()


def test_verbose_names_every_candidate(gpuforge, no_machines):
    """Each on its line with its reason."""
    text = gpuforge("plan", "--gpus", "L4:1", "-v").out

    assert text.count("\n  then ") >= 2
    assert "\n  left out      sim-l4-4x in sim-central1-a (4 GPUs, too many)\n" in text
    assert "more: gpuforge plan -v" not in text


def test_a_plan_is_a_document(gpuforge, no_machines):
    """Money as decimal text, times in UTC."""
    data = gpuforge("plan", "--gpus", "L4:1", "-o", "json").document["data"]

    best = data["options"][0]
    assert best["gang_usd_per_hour"] == "0.716850"
    assert data["provider"] == "fake"
    assert data["deadline"].endswith("Z")


def test_without_file_and_flags_there_is_nothing_to_plan(gpuforge, no_machines):
    """The way out is named."""
    result = gpuforge("plan")

    assert result.code == 64
    assert "there is no task file" in result.err
    assert "gpuforge init" in result.err


def test_mistakes_of_file_and_flags_come_at_once(gpuforge, no_machines):
    """With their lines."""
    (no_machines / "gpuforge.yaml").write_text("acelerators: L4\nname: x\n")

    result = gpuforge("plan", "--max-duration", "soon")

    assert result.code == 64
    assert result.err.startswith("error: gpuforge.yaml and the command line have 2 mistakes\n") or (
        "2 mistakes" in result.err
    )
    assert "gpuforge.yaml:1:1" in result.err
    assert "--max-duration" in result.err
    assert "^^^^^^^^^^^" in result.err


def test_an_impossible_gpu_is_refused_with_what_there_is(gpuforge, no_machines):
    """Nothing is guessed."""
    result = gpuforge("plan", "--gpus", "H1000:1")

    assert result.code == 64
    assert "H100" in result.err


def test_no_capacity_anywhere_is_a_table_of_reasons(gpuforge, no_machines):
    """Exit 69: each zone with its reason, and what else would do."""
    gpuforge("fake", "stockout", "L4")

    result = gpuforge("up", "--gpus", "L4:1", "--yes")

    assert result.code == 69
    _, _, told = result.err.partition("error: ")
    assert told.startswith(
        "nobody sells L4:1 on demand in fake now\n  why  sim-l4  sim-central1-a  out of stock at "
    )
    assert told.count("out of stock at") == 7
    assert "\n  do   " in told


def test_a_dearer_worst_case_than_allowed_is_refused(gpuforge, no_machines):
    """Before anything costs."""
    result = gpuforge("plan", "--gpus", "L4:1", "--max-cost", "0.5")

    assert result.code == 73
    assert "$0.50" in result.err
