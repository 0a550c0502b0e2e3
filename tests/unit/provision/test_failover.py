"""Which offering comes next, decided by the kind of the error alone."""

from __future__ import annotations

import pytest

from gpuforge.errors import (
    CapacityError,
    ConflictError,
    CredentialsError,
    HostKeyError,
    InvalidRequestError,
    PermissionDeniedError,
    PolicyError,
    ProviderError,
    ProviderUnavailableError,
    ProvisionError,
    QuotaError,
    RateLimitError,
)
from gpuforge.models.resources import CapacityType
from gpuforge.provision.failover import Next, Walk, decide


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        (CapacityError, Next.OFFERING),
        (ProviderError, Next.OFFERING),
        (QuotaError, Next.REGION),
        (CredentialsError, Next.STOP),
        (PermissionDeniedError, Next.STOP),
        (InvalidRequestError, Next.STOP),
        (ConflictError, Next.STOP),
        (RateLimitError, Next.STOP),
        (ProviderUnavailableError, Next.STOP),
        (HostKeyError, Next.STOP),
        (PolicyError, Next.STOP),
        (ProvisionError, Next.STOP),
    ],
)
def test_each_kind_has_one_answer(kind, then):
    assert decide(kind("x")) is then


def zones(walk):
    found = []
    while (option := walk.step()) is not None:
        found.append(option.offering.zone)
    return found


def test_options_come_in_the_order_of_the_plan(make):
    assert zones(Walk(plan=make.plan())) == ["sim-a-1", "sim-a-2", "sim-b-1"]


def test_a_region_whose_quota_is_used_up_is_left_out(make, manual_clock):
    walk = Walk(plan=make.plan())
    first = walk.step()

    walk.met(first, QuotaError("16 of 16 GPUs used"), manual_clock.now())

    assert zones(walk) == ["sim-b-1"]
    assert walk.attempts[0].error_code == "quota"
    assert walk.attempts[0].reason.startswith("16 of 16 GPUs used (at ")


def test_the_failure_names_what_was_wanted_where_and_how(make, manual_clock):
    plan = make.plan(zones=("sim-a-1",), capacity_type=CapacityType.SPOT)
    walk = Walk(plan=plan)
    walk.met(walk.step(), CapacityError("none"), manual_clock.now())

    error = walk.failed()

    assert error.brief == "nobody sells L4:4 as spot in sim-a now"
    assert error.exit_code == 69
    assert "--use-spot" not in error.resolution


def test_without_a_stock_out_nobody_is_said_to_be_sold_out(make, manual_clock):
    walk = Walk(plan=make.plan(accelerator=None))
    walk.met(walk.step(), ProviderError("internal error", details="code 13"), manual_clock.now())

    error = walk.failed()

    assert error.brief == "nobody lets us have sim-l4 on demand in fake now"
    assert "internal error: code 13" in error.details


def test_other_regions_of_the_plan_are_offered(make, manual_clock):
    walk = Walk(plan=make.plan(excluded=("sim-c-1", "sim-a-9")))

    assert "gpuforge run --infra fake/sim-c" in walk.failed().resolution


def test_a_quota_is_not_advised_to_be_waited_out(make, manual_clock):
    walk = Walk(plan=make.plan())
    walk.met(walk.step(), QuotaError("8 of 8 L4 are in use"), manual_clock.now())
    advice = walk.failed().resolution
    assert "stock-outs" not in advice
    assert "gpuforge doctor" in advice
