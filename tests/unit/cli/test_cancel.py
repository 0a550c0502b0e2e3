"""``cancel`` ends a job and everything it started."""

from __future__ import annotations


def test_the_whole_tree_ends(gpuforge, live):
    """Exit 0: what was asked was done; nothing of the job runs on."""
    gpuforge("run", "-d", "-c", "dev", "--", "sleep 4711 & sleep 4712")
    job = str(gpuforge("jobs", "--json").document["data"][-1]["alias"])

    result = gpuforge("cancel", job, "--grace", "1")

    assert result.code == 0
    assert result.err.startswith(f"  ✗ job {job} ")
    assert "cancelled" in result.err
    assert gpuforge("ssh", "dev", "--json").code == 0
    left = gpuforge("run", "-c", "dev", "--", "pgrep -f 'sleep 471[12]' | wc -l")
    assert left.out.strip() == "0"


def test_an_ended_job_stays_as_it_is(gpuforge, live):
    """Cancelling it is no error, and changes nothing."""
    gpuforge("run", "-c", "dev", "--", "exit 4")
    job = gpuforge("jobs", "--json").document["data"][-1]

    data = gpuforge("cancel", str(job["alias"]), "--json").document["data"]

    assert (data["state"], data["exit_code"]) == ("failed", 4)


def test_an_unknown_job_is_refused(gpuforge, live):
    """Exit 66."""
    assert gpuforge("cancel", "9999").code == 66
