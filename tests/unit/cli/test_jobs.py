"""``jobs`` lists jobs, and exits with one's state for scripts."""

from __future__ import annotations

import pytest


def test_states_become_exit_codes(gpuforge, live):
    """0 done, 100 failed, 101 not finished, 103 cancelled."""
    gpuforge("run", "-c", "dev", "--", "true")
    gpuforge("run", "-c", "dev", "--", "exit 9")
    gpuforge("run", "-d", "-c", "dev", "--", "sleep 60")
    listed = gpuforge("jobs", "--json").document["data"]
    done, failed, running = (str(job["alias"]) for job in listed[-3:])

    codes = [gpuforge("jobs", "--status", which).code for which in (done, failed, running)]
    gpuforge("cancel", running, "--grace", "0")
    codes.append(gpuforge("jobs", "--status", running).code)

    assert codes == [0, 100, 101, 103]
    assert gpuforge("jobs", "--status", failed, "--json").document["data"][0]["exit_code"] == 9


def test_the_table_tells_each_jobs_end(gpuforge, live):
    """Oldest first, with its cause."""
    gpuforge("run", "-c", "dev", "--", "kill -9 $$")

    header, *rows = gpuforge("jobs", "-c", "dev").out.splitlines()

    assert header.split() == ["JOB", "NAME", "STATE", "EXIT", "SUBMITTED", "TOOK", "CAUSE"]
    assert "failed" in rows[-1]
    assert " 137 " in rows[-1]
    assert "SIGKILL" in rows[-1]


@pytest.mark.parametrize("argv", [["jobs"], ["logs"], ["cancel", "1"], ["ssh"], ["push", "."], ["pull", "x"]])
def test_without_a_cluster_there_is_nothing_to_ask(argv, gpuforge, here):
    """Exit 66, with what to do."""
    result = gpuforge(*argv)

    assert (result.code, result.err) == (66, "error: no cluster is up\n  do   gpuforge up\n")
