"""Quota per region and GPU model: what counts, what does not, and what cannot be set."""

from __future__ import annotations

import pytest

from gpuforge.simcloud.refusals import Code, SimError


def _use(cloud, region, metric):
    return next(x for x in cloud.quotas() if (x.region, x.metric) == (region, metric))


def test_the_default_is_64_gpus_and_512_cpus(sim_cloud):
    assert _use(sim_cloud, "sim-east1", "H100").limit == 64
    assert _use(sim_cloud, "sim-east1", "CPUS").limit == 512


def test_use_counts_gpus_per_model_and_region(sim_cloud, make_body):
    sim_cloud.create("t", make_body("a", "b", instance_type="sim-l4-4x"))
    assert _use(sim_cloud, "sim-central1", "L4").used == 8
    assert _use(sim_cloud, "sim-east1", "L4").used == 0
    assert _use(sim_cloud, "sim-central1", "CPUS").used == 0


def test_use_ends_with_the_instance(sim_cloud, make_body, sim_clock, at):
    sim_cloud.create("t", make_body())
    sim_cloud.delete([at()])
    assert _use(sim_cloud, "sim-central1", "L4").used == 1
    sim_clock.advance(10)
    assert _use(sim_cloud, "sim-central1", "L4").used == 0


def test_a_refusal_says_the_limit_the_use_and_the_command(sim_cloud, make_body):
    sim_cloud.set_quota("sim-central1", "L4", 1)
    sim_cloud.create("t", make_body("a"))
    with pytest.raises(SimError, match="is 1, 1 in use, 1 more asked") as caught:
        sim_cloud.create("t2", make_body("b"))
    assert caught.value.code is Code.QUOTA
    assert "gpuforge fake quota L4 2 --region sim-central1" in caught.value.hint


def test_another_region_has_quota_of_its_own(sim_cloud, make_body):
    sim_cloud.set_quota("sim-central1", "L4", 0)
    sim_cloud.create("t", make_body(zone="sim-east1-a"))
    assert _use(sim_cloud, "sim-east1", "L4").used == 1


@pytest.mark.parametrize(
    ("region", "metric", "units"),
    [("sim-north1", "L4", 1), ("sim-east1", "L5", 1), ("sim-east1", "L4", -1)],
)
def test_nonsense_is_not_set(sim_cloud, region, metric, units):
    with pytest.raises(SimError) as caught:
        sim_cloud.set_quota(region, metric, units)
    assert caught.value.code is Code.INVALID
