"""What time does: events in their order, at the moment they were due, no matter who looks or how often."""

from __future__ import annotations

import random
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuforge.simcloud.body import CreateBody
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.simcloud.instances import Key, Status
from gpuforge.simcloud.refusals import SimError
from gpuforge.simcloud.settings import MachineMode, SimSettings
from gpuforge.simcloud.settle import next_due
from gpuforge.testing.clock import ManualClock


def _dump(cloud):
    """Every row of the cloud, in one order."""
    cloud.settle()
    with cloud._database.read() as db:
        return {
            table: [tuple(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY 1")]  # noqa: S608 - constants
            for table in ("instances", "operations", "disks", "attributes")
        }


def test_nothing_is_due_in_an_empty_cloud(sim_cloud):
    sim_cloud.settle()
    with sim_cloud._database.read() as db:
        assert next_due(db) is None


def test_a_deadline_ends_an_instance_though_nobody_looked(sim_cloud, make_body, sim_clock):
    operation = sim_cloud.create("t", make_body(minutes=10))
    sim_clock.advance(3600)
    assert sim_cloud.everything() == []
    with sim_cloud._database.read() as db:
        row = db.execute("SELECT * FROM instances WHERE id=?", operation.targets).fetchone()
    assert row["reason"] == "its deadline was reached"
    assert row["ended"] == row["deadline"] + 0.2


def test_a_deadline_holds_for_every_state_that_bills(sim_cloud, make_body, sim_clock):
    sim_cloud.create("t", make_body(minutes=1 / 60))
    sim_clock.advance(1.1)
    assert [row.status for row in sim_cloud.everything()] == [Status.STOPPING]
    sim_clock.advance(0.5)
    assert sim_cloud.everything() == []


def test_settling_twice_changes_nothing(sim_cloud, make_body, sim_clock):
    sim_cloud.create("t", make_body("a", "b", minutes=2))
    sim_clock.advance(60)
    first = _dump(sim_cloud)
    assert _dump(sim_cloud) == first
    sim_clock.advance(600)
    second = _dump(sim_cloud)
    assert second != first
    assert _dump(sim_cloud) == second


def test_events_happen_in_the_order_they_fell_due(sim_cloud, make_body, sim_clock, at):
    """The stock that one instance's end frees is there for the create that came after it."""
    sim_cloud.set_stock("sim-central1-a", "sim-l4", 1)
    sim_cloud.create("t1", make_body("a"))
    sim_clock.advance(1)
    sim_cloud.delete([at("a")])
    operation = sim_cloud.create("t2", make_body("b"))
    sim_clock.advance(3600)
    assert sim_cloud.operation(operation.name).error_code == ""


_WORD = st.sampled_from(["create", "delete", "preempt", "reboot", "stockout", "late", "keep"])
_STEP = st.tuples(_WORD, st.integers(0, 4), st.floats(0, 40))


def _apply(cloud, clock, word, which):
    name, key = f"n{which}", Key(zone="sim-central1-a", name=f"n{which}")
    deadline = clock.now() + timedelta(seconds=20 + 10 * which)
    body = CreateBody(
        names=(name, f"{name}x"),
        zone="sim-central1-a",
        instance_type="sim-l4",
        capacity_type="spot" if which % 2 else "on_demand",
        image="common-cu129",
        disk_gib=50,
        deadline=deadline,
        labels={
            "gf-owner": "o",
            "gf-journal": "j",
            "gf-cluster": "c",
            "gf-intent": "i",
            "gf-deadline": "1",
        },
        user="u",
        ssh_keys=(),
        metadata={},
        termination_action="STOP" if which == 3 else "DELETE",
    ).to_bytes()
    if word == "late":
        cloud.faults.add(call="create", fate="late:7")
    if word == "keep":
        cloud.faults.add(call="delete", fate="keeps_disk")
    calls = {
        "create": lambda: cloud.create(f"{name}-{deadline}", body),
        "late": lambda: cloud.create(f"{name}-{deadline}", body),
        "delete": lambda: cloud.delete([key]),
        "keep": lambda: cloud.delete([key]),
        "preempt": lambda: cloud.preempt(_id_of(cloud, name), notice_seconds=3),
        "reboot": lambda: cloud.reboot(_id_of(cloud, name)),
        "stockout": lambda: cloud.stockout("L4", minutes=0.2),
    }
    try:
        calls[word]()
    except SimError as error:
        return error.code
    return None


def _id_of(cloud, name):
    return next((row.id for row in cloud.everything() if row.name == name), "0")


@settings(max_examples=20, deadline=None)
@given(st.lists(_STEP, max_size=14), st.lists(st.floats(0.01, 10), max_size=20))
def test_looking_more_often_changes_nothing_and_all_is_gone_past_the_deadlines(steps, looks):
    def play(folder, *, looking):
        clock = ManualClock()
        cloud = SimCloud(
            folder,
            clock,
            settings=SimSettings(machines=MachineMode.NONE),
            draw=random.Random(11),  # noqa: S311 - repeatable on purpose
        )
        answers = []
        pauses = iter(looks if looking else ())
        for word, which, seconds in steps:
            answers.append(_apply(cloud, clock, word, which))
            end = clock.now() + timedelta(seconds=seconds)
            while (pause := next(pauses, None)) is not None and clock.now() + timedelta(seconds=pause) < end:
                clock.advance(pause)
                cloud.settle()
            clock.advance((end - clock.now()).total_seconds())
        clock.advance(3600)
        rows, alive = _dump(cloud), cloud.everything()
        cloud.close()
        return answers, rows, alive

    with tempfile.TemporaryDirectory() as folder:
        quiet = play(Path(folder) / "a", looking=False)
        watched = play(Path(folder) / "b", looking=True)
    assert quiet[0] == watched[0]
    for table, rows in quiet[1].items():
        assert rows == watched[1][table]
    assert quiet[2] == []
