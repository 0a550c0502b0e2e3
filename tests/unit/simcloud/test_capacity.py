"""Stock: ample, until a stock-out says otherwise for a while or a total is set."""

from __future__ import annotations

import pytest

from gpuforge.simcloud.capacity import is_out_of_stock
from gpuforge.simcloud.refusals import Code, SimError


def _is_out(cloud, clock, **changes):
    question = {"zone": "sim-central1-a", "instance_type": "sim-l4", "capacity_type": "on_demand", "count": 1}
    with cloud._database.read() as db:
        return is_out_of_stock(db, **{**question, **changes}, at=clock.now().timestamp())


def test_everything_is_in_stock_at_first(sim_cloud, sim_clock):
    assert not _is_out(sim_cloud, sim_clock, count=1000)


def test_a_gpus_stock_out_covers_its_types_in_every_zone(sim_cloud, sim_clock):
    made = sim_cloud.stockout("L4", minutes=3)
    assert {x.instance_type for x in made} == {"sim-l4", "sim-l4-4x"}
    assert {x.zone for x in made} >= {"sim-central1-a", "sim-west1-b"}
    assert _is_out(sim_cloud, sim_clock, zone="sim-east1-a", instance_type="sim-l4-4x", capacity_type="spot")
    assert not _is_out(sim_cloud, sim_clock, instance_type="sim-t4")


def test_one_zone_or_one_capacity_type_can_be_out_alone(sim_cloud, sim_clock):
    sim_cloud.stockout("sim-l4", zone="sim-central1-a", capacity_type="spot")
    assert _is_out(sim_cloud, sim_clock, capacity_type="spot")
    assert not _is_out(sim_cloud, sim_clock)
    assert not _is_out(sim_cloud, sim_clock, zone="sim-central1-b", capacity_type="spot")


def test_a_stock_out_ends_by_itself(sim_cloud, sim_clock):
    sim_cloud.stockout("L4", minutes=2)
    sim_clock.advance(119)
    assert _is_out(sim_cloud, sim_clock)
    sim_clock.advance(2)
    assert not _is_out(sim_cloud, sim_clock)
    assert sim_cloud.stockouts() == []


def test_clearing_ends_them_all(sim_cloud, sim_clock):
    made = sim_cloud.stockout("T4")
    assert sim_cloud.clear_stockouts() == len(made)
    assert not _is_out(sim_cloud, sim_clock, instance_type="sim-t4")


def test_a_total_counts_what_runs(sim_cloud, sim_clock, make_body, at):
    sim_cloud.set_stock("sim-central1-a", "sim-l4", 2)
    sim_cloud.create("t", make_body("a", "b"))
    sim_clock.advance(1)
    sim_cloud.settle()
    assert _is_out(sim_cloud, sim_clock)
    sim_cloud.delete([at("a")])
    sim_clock.advance(1)
    sim_cloud.settle()
    assert not _is_out(sim_cloud, sim_clock)
    assert _is_out(sim_cloud, sim_clock, count=2)


@pytest.mark.parametrize(
    ("subject", "changes"),
    [
        ("L5", {}),
        ("L4", {"zone": "sim-north1-a"}),
        ("H100", {"zone": "sim-west1-a"}),
        ("L4", {"capacity_type": "reserved"}),
    ],
)
def test_what_is_not_on_sale_cannot_run_out(sim_cloud, subject, changes):
    with pytest.raises(SimError) as caught:
        sim_cloud.stockout(subject, **changes)
    assert caught.value.code is Code.INVALID
    assert sim_cloud.stockouts() == []
