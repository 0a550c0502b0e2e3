"""Creating: tokens, names, atomic gangs, and what is refused before anything exists."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpuforge.simcloud.instances import Status
from gpuforge.simcloud.refusals import Code, SimError


def _refusal(cloud, token, body):
    with pytest.raises(SimError) as caught:
        cloud.create(token, body)
    return caught.value


def test_an_accepted_gang_is_provisioning_and_runs_after_its_latency(sim_cloud, make_body, sim_clock):
    operation = sim_cloud.create("t", make_body("a", "b"))
    assert not operation.is_done
    assert {row.status for row in sim_cloud.everything()} == {Status.PROVISIONING}
    sim_clock.advance(0.3)
    assert {row.status for row in sim_cloud.everything()} == {Status.RUNNING}
    assert sim_cloud.operation(operation.name).is_done


def test_ids_come_in_the_order_of_the_names(sim_cloud, make_body):
    operation = sim_cloud.create("t", make_body("b", "c", "a"))
    by_name = {row.name: row.id for row in sim_cloud.everything()}
    assert operation.targets == (by_name["b"], by_name["c"], by_name["a"])


def test_the_same_words_get_the_same_answer_whatever_became_of_it(sim_cloud, make_body, sim_clock, at):
    body = make_body()
    first = sim_cloud.create("t", body)
    assert sim_cloud.create("t", body).name == first.name
    sim_cloud.delete([at()])
    sim_clock.advance(10)
    assert sim_cloud.create("t", body).targets == first.targets
    assert sim_cloud.everything() == []


def test_a_token_with_another_body_is_a_conflict_and_changes_nothing(sim_cloud, make_body, only):
    sim_cloud.create("t", make_body())
    before = only()
    assert _refusal(sim_cloud, "t", make_body(disk_gib=51)).code is Code.CONFLICT
    assert only() == before


def test_a_living_name_is_a_conflict_that_names_the_id(sim_cloud, make_body, only):
    sim_cloud.create("t1", make_body())
    refusal = _refusal(sim_cloud, "t2", make_body(disk_gib=51))
    assert refusal.code is Code.CONFLICT
    assert only().id in refusal.message


def test_a_name_lives_once_per_zone_and_again_in_another(sim_cloud, make_body):
    sim_cloud.create("t1", make_body())
    sim_cloud.create("t2", make_body(zone="sim-central1-b"))
    assert [row.zone for row in sim_cloud.everything()] == ["sim-central1-a", "sim-central1-b"]


def test_a_gang_with_one_taken_name_creates_nothing_and_spends_no_token(sim_cloud, make_body, sim_clock, at):
    sim_cloud.create("t1", make_body("b"))
    assert _refusal(sim_cloud, "t2", make_body("a", "b", "c")).code is Code.CONFLICT
    assert [row.name for row in sim_cloud.everything()] == ["b"]
    sim_cloud.delete([at("b")])
    sim_clock.advance(10)
    sim_cloud.create("t2", make_body("a", "b", "c"))
    assert [row.name for row in sim_cloud.everything()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minutes": 0}, "has passed"),
        ({"minutes": -5}, "has passed"),
        ({"zone": "sim-north1-a"}, "no zone"),
        ({"instance_type": "sim-l5"}, "no instance type"),
        ({"instance_type": "sim-a100-80-8x"}, "not sold in"),
        ({"instance_type": "sim-h100-2x"}, "not sold on demand"),
        ({"image": "pytorch"}, "no image"),
        ({"disk_gib": 29}, "does not fit"),
    ],
)
def test_what_will_never_be_accepted_is_invalid(sim_cloud, make_body, changes, words):
    refusal = _refusal(sim_cloud, "t", make_body(**changes))
    assert refusal.code is Code.INVALID
    assert words in refusal.message
    assert sim_cloud.everything() == []


def test_the_quota_is_checked_at_once_and_for_the_whole_gang(sim_cloud, make_body):
    sim_cloud.set_quota("sim-central1", "L4", 2)
    assert _refusal(sim_cloud, "t", make_body("a", "b", "c")).code is Code.QUOTA
    sim_cloud.create("t", make_body("a", "b"))


def test_a_stock_out_comes_with_the_operation_and_leaves_nothing(sim_cloud, make_body, sim_clock):
    sim_cloud.stockout("L4", zone="sim-central1-a")
    body = make_body("a", "b")
    operation = sim_cloud.create("t", body)
    sim_clock.advance(1)
    done = sim_cloud.operation(operation.name)
    assert (done.is_done, done.error_code) == (True, "capacity")
    assert "sim-l4 is out of stock in sim-central1-a" in done.error_message
    assert sim_cloud.everything() == []
    assert sim_cloud.create("t", body).error_code == "capacity"


def test_a_gang_larger_than_the_stock_creates_none(sim_cloud, make_body, sim_clock):
    sim_cloud.set_stock("sim-central1-a", "sim-l4", 2)
    operation = sim_cloud.create("t", make_body("a", "b", "c"))
    sim_clock.advance(1)
    assert sim_cloud.operation(operation.name).error_code == "capacity"
    assert sim_cloud.everything() == []


def test_an_instance_that_was_deleted_while_it_was_made_does_not_come_back(
    sim_cloud, make_body, sim_clock, at
):
    operation = sim_cloud.create("t", make_body())
    sim_cloud.delete([at()])
    sim_clock.advance(10)
    assert sim_cloud.everything() == []
    assert sim_cloud.operation(operation.name).error_code == ""


_RACER = """
import sys
from datetime import datetime
from pathlib import Path
from gpuforge.models.clock import SystemClock
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.simcloud.refusals import SimError
from gpuforge.simcloud.settings import MachineMode, SimSettings
cloud = SimCloud(Path(sys.argv[1]), SystemClock(), settings=SimSettings(machines=MachineMode.NONE))
cloud.settle()
print("ready", flush=True)
sys.stdin.readline()
try:
    print(*cloud.create(sys.argv[2], sys.argv[3].encode()).targets)
except SimError as error:
    print(error.code)
"""


def _race(folder, *requests):
    """Each (token, body) in a process of its own, all at once; their answers."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, str(folder), token, body.decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for token, body in requests
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0].strip() for process in started]


def _hours_from_now(make_body, **changes):
    # the processes of a race live in real time, and the tests' clock stands in January
    from datetime import timedelta  # noqa: PLC0415

    from gpuforge.models.clock import SystemClock  # noqa: PLC0415

    return make_body(deadline=SystemClock().now() + timedelta(hours=2), **changes)


def test_two_processes_with_one_token_make_one_instance(tmp_path, make_body):
    body = _hours_from_now(make_body)
    first, second = _race(tmp_path / "c", ("t", body), ("t", body))
    assert first == second
    assert first.isdigit()


def test_two_processes_with_one_name_make_one_instance_and_one_conflict(tmp_path, make_body):
    answers = _race(
        tmp_path / "c",
        ("t1", _hours_from_now(make_body)),
        ("t2", _hours_from_now(make_body, disk_gib=60)),
    )
    assert sorted(answer.isdigit() for answer in answers) == [False, True]
    assert "conflict" in answers
