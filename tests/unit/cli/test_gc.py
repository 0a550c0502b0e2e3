"""``gc`` finishes what was begun and reports what nobody knows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gpuforge.cli import gc
from gpuforge.cli.output import output
from gpuforge.errors import Leftover
from gpuforge.models.instance import Disk
from gpuforge.provision.reconcile import Finished, GcReport
from gpuforge.provision.sweep import Stray


def test_where_all_agree_there_is_nothing_to_do(gpuforge, live):
    """It says so."""
    assert gpuforge("gc").out == "nothing to do: the journal and the cloud agree\n"
    assert gpuforge("gc", "--json", "--yes").document["data"]["complete"] is True


def test_deleting_asks(gpuforge, no_machines):
    """Exit 76 without a terminal, naming what would go."""
    result = gpuforge("gc", "--delete", "4711")

    assert result.code == 76
    assert "  why  delete 4711 with their disks?\n" in result.err


def test_an_id_nobody_knows_is_said(gpuforge, no_machines):
    """Nothing is deleted on a guess."""
    result = gpuforge("gc", "--delete", "4711", "--yes")

    assert "no unknown machine has the id 4711\n" in result.out


NOW = datetime(2031, 11, 25, 15, 40, tzinfo=UTC)
REF = SimpleNamespace(name="gf-x-0-1", instance_id="4711", zone="zone-a")
STRAY = Stray(instance=SimpleNamespace(ref=REF), deadline=NOW, is_ours=True)
DISK = Disk(name="gf-x-0-1", zone="zone-a", size_gib=50, labels={}, provider="fake", disk_id="9")


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (GcReport(), "nothing to do: the journal and the cloud agree"),
        (GcReport(finished=(Finished(cluster="a", outcome="created"),)), "a: created"),
        (GcReport(busy=("b",)), "b: another command is at work on it; left alone"),
        (GcReport(strays=(STRAY,)), ": made by this journal, which has lost its record"),
        (
            GcReport(strays=(replace(STRAY, is_ours=False, deadline=None),)),
            "in zone-a, no deadline: made by another",
        ),
        (GcReport(strays=(replace(STRAY, is_deleted=True),)), ": deleted"),
        (GcReport(disks=(DISK,)), "disk gf-x-0-1 (50 GB) in zone-a stands alone"),
    ],
)
def test_each_finding_is_a_line(report, told, capsys):
    """On stdout: it is the answer."""
    gc._show(report)

    assert told in capsys.readouterr().out


def test_an_incomplete_answer_is_warned_of(capsys):
    """What did not answer may hold machines."""
    output.begin(as_json=False)

    gc._show(GcReport(complete=False, warnings=("zone-b did not answer",)))

    assert capsys.readouterr().err == (
        "warning: zone-b did not answer\nwarning: a part of the cloud did not answer: this list is "
        "incomplete\n"
    )


def test_a_report_is_a_document():
    """Every finding with its fields."""
    left = Leftover(kind="disk", name="d", place="z", reason="r")
    report = GcReport(finished=(Finished(cluster="a", outcome="created"),), strays=(STRAY,), disks=(DISK,),
                      leftovers=(left,), unknown_ids=("9",))  # fmt: skip

    data = json.loads(json.dumps(gc._data(report)))

    assert data["finished"] == [{"cluster": "a", "outcome": "created"}]
    assert data["unknown_machines"][0]["deadline"] == "2031-11-25T15:40:00Z"
    assert data["disks"] == [{"name": "gf-x-0-1", "zone": "zone-a", "size_gib": 50}]
    assert data["unknown_ids"] == ["9"]
