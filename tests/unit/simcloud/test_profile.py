"""The profile that ships: what it sells, and how a wrong name is answered."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gpuforge.models.resources import CapacityType
from gpuforge.simcloud.profile import load_profile, suggest
from gpuforge.simcloud.refusals import Code, SimError


@pytest.fixture
def profile():
    return load_profile()


def test_it_sells_an_l4_for_71_cents_and_spot_for_less(profile):
    prices = {
        x.capacity_type: x.price.usd_per_hour
        for x in profile.offerings
        if (x.zone, x.instance_type) == ("sim-central1-a", "sim-l4")
    }
    assert prices[CapacityType.ON_DEMAND] == Decimal("0.71")
    assert Decimal("0.3") <= prices[CapacityType.SPOT] / prices[CapacityType.ON_DEMAND] <= Decimal("0.5")


def test_every_offering_names_fake_and_a_disk_price(profile):
    assert {x.provider for x in profile.offerings} == {"fake"}
    assert all(x.disk_usd_per_gib_month for x in profile.offerings)


def test_every_zone_lies_in_its_region(profile):
    assert profile.zones["sim-east1-b"] == "sim-east1"
    assert profile.region_of("sim-west1-a") == "sim-west1"
    assert profile.regions() == ("sim-central1", "sim-east1", "sim-west1")


def test_the_first_image_is_pytorch_with_a_driver_and_one_is_retired(profile):
    assert profile.images[0].id == "pytorch-2-9-cu129"
    assert profile.images[0].driver == "580"
    assert [x.id for x in profile.images if x.deprecated and x.deprecated < profile.images[0].created]


def test_quota_counts_gpus_where_there_are_some_and_vcpus_elsewhere(profile):
    big, small = profile.types["sim-a100-80-8x"], profile.types["sim-cpu-8"]
    assert (big.quota_metric, big.quota_units) == ("A100-80GB", 8)
    assert (small.quota_metric, small.quota_units) == ("CPUS", 8)


def test_a_restricted_offering_says_in_which_way_it_is_not_sold(profile):
    key = ("sim-central1-a", "sim-h100-2x", "on_demand")
    assert profile.restrictions[key] == "not sold on demand"
    assert (*key[:2], "spot") not in profile.restrictions


def test_a_gpu_stands_for_all_its_types_and_a_type_for_itself(profile):
    assert profile.types_of("L4") == ("sim-l4", "sim-l4-4x")
    assert profile.types_of("sim-t4") == ("sim-t4",)


@pytest.mark.parametrize(
    ("call", "word", "hint"),
    [
        (lambda p, word: p.types_of(word), "sim-l5", "sim-l4"),
        (lambda p, word: p.region_of(word), "sim-east1-c", "sim-east1-"),
        (lambda p, word: p.instance_type(word, "sim-east1-a"), "sim-cpu-3", "sim-cpu-"),
        (lambda p, word: p.image(word), "pytorch-2-9", "pytorch-2-9-cu129"),
        (lambda p, word: p.types_of(word), "x;\n'ü", "there is: "),
    ],
)
def test_a_wrong_name_is_invalid_and_answered_with_a_near_one(profile, call, word, hint):
    with pytest.raises(SimError) as caught:
        call(profile, word)
    assert caught.value.code is Code.INVALID
    assert hint in caught.value.hint


def test_a_type_is_refused_where_it_is_not_sold(profile):
    with pytest.raises(SimError, match="not sold in sim-west1-b"):
        profile.instance_type("sim-t4", "sim-west1-b")


def test_a_suggestion_lists_all_when_nothing_is_near():
    assert suggest("zzz", ["alpha", "beta"]) == "there is: alpha, beta"
    assert suggest("alpa", ["alpha", "beta"]) == "did you mean alpha?"
