"""``up`` rents machines, reuses those that fit, and survives Ctrl-C."""

from __future__ import annotations

import signal

from gpuforge.testing.nodes import eventually


def test_a_live_cluster_that_fits_is_reused(gpuforge, live):
    """No plan, no question; what bills and what to do next."""
    result = gpuforge("up", "--gpus", "L4:1", "-c", "dev")

    assert result.code == 0
    lines = result.err.splitlines()
    assert lines[0].startswith("  ✓ cluster     dev is up and fits; reused ")
    assert lines[2].startswith("  still up      dev until ")
    assert lines[3].startswith("  nodes         gf-")
    assert lines[4].startswith("  ssh           ssh -F ")
    assert lines[5].startswith("  next          gpuforge run -c dev -- nvidia-smi · ")


def test_a_live_cluster_is_a_document(gpuforge, live):
    """Nothing but the envelope on stdout."""
    data = gpuforge("up", "--gpus", "L4:1", "-c", "dev", "--json").document["data"]

    assert (data["name"], data["state"], data["simulated"]) == ("dev", "ready", True)
    assert data["usd_per_hour"] == "0.716850"


def test_a_live_cluster_that_does_not_fit_is_refused(gpuforge, live):
    """Exit 73, and it stays."""
    result = gpuforge("up", "--gpus", "A100:1", "-c", "dev", "--yes")

    assert result.code == 73
    assert "  why  it has L4:1, the task wants A100\n" in result.err.replace("A100:1", "A100")


def test_without_consent_nothing_is_rented(gpuforge, here):
    """The plan is shown, then exit 76."""
    result = gpuforge("up", "--gpus", "L4:1", "-c", "new")

    assert result.code == 76
    assert result.err.startswith("new on fake — simulated: nothing is billed\n")
    assert gpuforge("status", "--json").document["data"] == []


def test_ctrl_c_while_renting_leaves_nothing_unknown(process, gpuforge, here):
    """Exit 130; the next commands find what was begun and give it back."""
    argv = ("up", "--gpus", "L4:1", "-c", "cut", "--yes")
    child = process(*argv, env={"GPUFORGE_FAKE_LATENCY": "30"})
    eventually(lambda: gpuforge("fake", "status").out != "no instances\n")

    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)

    assert (child.returncode, out) == (130, b"")
    assert b"interrupted\n  why  " in err
    assert b"gpuforge gc " in err
    assert b"Traceback" not in err
    gpuforge("gc")
    gpuforge("down", "--all", "--yes")
    assert gpuforge("status", "--json").document["data"] == []
    eventually(lambda: gpuforge("fake", "status").out == "no instances\n")
