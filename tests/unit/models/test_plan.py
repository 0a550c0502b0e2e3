"""Plans keep their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from gpuforge.models.image import Image
from gpuforge.models.offering import Offering
from gpuforge.models.plan import Option, Plan
from gpuforge.models.resources import CapacityType, Need

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
OFFERING = Offering(
    provider="fake", region="r", zone="a", instance_type="t", accelerator=None, vcpus=4,
    memory_gib=Decimal(16), capacity_type=CapacityType.ON_DEMAND, price=None, disk_usd_per_gib_month=None,
)  # fmt: skip
IMAGE = Image(
    provider="fake", id="i", family="f", framework="", cuda="", driver="", os="", arch="", created=date.min
)


def test_the_best_option_is_the_one_tried_first():
    """Even when a later one is cheaper, for the order may be the user's."""
    first = Option(offering=OFFERING, need=Need(), image=IMAGE, usd_per_hour=Decimal(2), worst_case_usd=None)
    second = replace(first, offering=replace(OFFERING, zone="b"), usd_per_hour=Decimal(1))
    plan = Plan(
        cluster_name="c", provider="fake", simulated=True, options=(first, second), excluded=(), num_nodes=1,
        max_duration=timedelta(hours=6), made_at=NOW, deadline=NOW + timedelta(hours=6),
        autostop_minutes=None,
    )  # fmt: skip

    assert plan.best is first
