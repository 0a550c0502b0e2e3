"""``status`` shows clusters, their jobs, what they cost and when they end."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gpuforge.cli import status
from gpuforge.errors import ConnectError
from gpuforge.models.cluster import ClusterState
from gpuforge.testing.nodes import local_cluster


def test_the_table_tells_where_what_and_until_when(gpuforge, live):
    """One line a cluster."""
    gpuforge("run", "-c", "dev", "--", "true")

    header, row = gpuforge("status").out.splitlines()

    assert header.split() == ["CLUSTER", "WHERE", "NODES", "STATE", "JOBS", "SPENT", "ENDS"]
    assert row.startswith("dev      fake/sim-central1-a  1 × L4  running  ")
    assert " done " in row
    assert ", in 5 h " in row


def test_without_refresh_nobody_is_asked(gpuforge, live):
    """The journal's answer alone."""
    assert "not asked" in gpuforge("status", "dev", "--no-refresh").out


def test_the_list_is_a_document(gpuforge, live):
    """Money as decimal text with its currency."""
    (data,) = gpuforge("status", "--json").document["data"]

    assert (data["name"], data["provider"], data["currency"]) == ("dev", "fake", "USD")
    assert data["deadline"].endswith("Z")
    assert float(data["spent_usd"]) > 0


@pytest.mark.parametrize("argv", [[], ["--no-refresh"]])
def test_with_nothing_up_it_says_so(argv, gpuforge, here):
    """And makes no journal."""
    assert gpuforge("status", *argv).out == "no cluster is up\n"


def test_an_unknown_name_is_refused(gpuforge, live):
    """Exit 66."""
    assert gpuforge("status", "nosuch").code == 66


def test_with_nothing_up_it_loads_little(here):
    """No SSH client, no validation, no drawing."""
    code = (
        "import sys\nfrom gpuforge.cli.main import main\n"
        "try:\n main(['status'])\nexcept SystemExit as end:\n assert end.code == 0\n"
        "heavy = {'paramiko', 'pydantic', 'rich', 'asyncssh', 'yaml', 'starlette'} & sys.modules.keys()\n"
        "print(sorted(heavy))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["no cluster is up", "[]"]


def test_a_machine_that_went_away_is_told(gpuforge, here):
    """The cloud's word wins over the journal's."""
    gpuforge("up", "--gpus", "L4:1", "-c", "lost", "--yes")
    gpuforge("fake", "reset", "--yes")

    assert gpuforge("status").out == "no cluster is up\n"


def asked(jobs):
    """A façade whose one cluster has those jobs, or does not answer."""

    def tell():
        if isinstance(jobs, Exception):
            raise jobs
        return [SimpleNamespace(state=SimpleNamespace(is_final=final)) for final in jobs]

    return SimpleNamespace(cluster=lambda _name: SimpleNamespace(jobs=tell))


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ([], "none"),
        ([True], "1 done"),
        ([True, False, False], "2 running, 1 done"),
        (ConnectError("no answer in 10 s"), "no answer in 10 s"),
    ],
)
def test_jobs_are_counted_and_silence_is_said(jobs, told):
    """A machine that does not answer hides no other."""
    assert status._jobs(asked(jobs), local_cluster(1)) == told


def test_an_unfinished_cluster_is_not_asked():
    """It cannot know."""
    creating = replace(local_cluster(1), state=ClusterState.CREATING)

    assert status._jobs(asked(ConnectError("never asked")), creating) == "–"
