"""When nothing is left: what cannot be had, why, and what to do, over the shipped Compute Engine table."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import pytest

from gpuforge.catalog.catalog import gce_offerings
from gpuforge.errors import BudgetError, Mistake, SpecError
from gpuforge.images.select import select_image
from gpuforge.models.image import Image
from gpuforge.models.resources import Accelerator, Bound, CapacityType, Need, Needs
from gpuforge.provision.plan import make_plan
from gpuforge.provision.refuse import refuse_outside
from gpuforge.testing.clock import ManualClock

IMAGE = Image(
    provider="gcp",
    id="pytorch-v1",
    family="pytorch-2-9-cu129-ubuntu-2404-nvidia-580",
    framework="pytorch-2.9",
    cuda="12.9",
    driver="580",
    os="ubuntu-24.04",
    arch="x86_64",
    created=date(2026, 4, 1),
    min_disk_gib=50,
)


@dataclass
class Task:
    """What planning reads of a task; remembers which keys were pointed at."""

    need: Need
    num_nodes: int = 1
    max_cost: Decimal | None = None
    pointed: list[str] = field(default_factory=list)
    file_mounts: tuple = ()

    def needs(self):
        return Needs(alternatives=(self.need,))

    def mark(self, keypath):
        return None

    def mistake(self, keypath, message):
        self.pointed.append(keypath)
        return Mistake(where="gpuforge.yaml:7:3", snippet="as written", message=message)


SOLD = [o for o in gce_offerings() if o.region.startswith(("us-", "asia-"))]


class Table:
    """A provider that sells a part of the shipped table."""

    name = "gcp"
    simulated = False
    power = None

    def __init__(self, keep):
        self.keep = keep

    def list_offerings(self, need):
        return [offering for offering in SOLD if self.keep(offering)]

    def resolve_image(self, query):
        return select_image([IMAGE], query)


def refused(kind, gpu=None, count=1, *, keep=lambda _: True, hours=6, num_nodes=1, max_cost=None, **need):
    accelerators = (Accelerator(gpu, count),) if gpu else ()
    task = Task(Need(accelerators=accelerators, **need), num_nodes=num_nodes, max_cost=max_cost)
    with pytest.raises(kind) as caught:
        make_plan(
            task,
            provider=Table(keep),
            cluster_name="c",
            max_duration=timedelta(hours=hours),
            autostop_minutes=20,
            clock=ManualClock(),
            stockouts={},
        )
    return caught.value, task


def test_a_simulated_machine_takes_no_absolute_place_and_each_is_named():
    task = Task(Need())
    refuse_outside(task, ["data", "workdir/data"])
    with pytest.raises(SpecError) as caught:
        refuse_outside(task, ["/data", "ok", "/etc/x"])
    assert [mistake.message.rpartition(" ")[2] for mistake in caught.value.mistakes] == ["~/data", "~/etc/x"]
    assert task.pointed == ["file_mounts./data", "file_mounts./etc/x"]


def test_an_impossible_count_says_which_counts_exist():
    error, task = refused(SpecError, "L4", 3)
    assert error.brief == "gcp has no machine with L4:3"
    assert error.details == "gpuforge.yaml:7:3: GPUs per machine: L4: 1, 2, 4, 8"
    assert error.resolution == "accelerators: L4:4, or accelerators: L4:1 with num_nodes: 3"
    assert task.pointed == ["resources.accelerators"]
    assert error.mistakes[0].snippet == "as written"


def test_more_gpus_than_any_machine_has_become_nodes():
    error, _ = refused(SpecError, "H100", 16)
    assert error.resolution == "accelerators: H100:8 with num_nodes: 2"


def test_a_gpu_that_this_cloud_does_not_sell_is_said_so():
    error, _ = refused(SpecError, "GB200", 4)
    assert error.brief == "gcp does not sell GB200"
    assert "gcp sells A100, A100-80GB" in error.details
    error, _ = refused(SpecError, "L4", keep=lambda o: o.accelerator is None)
    assert "gcp sells no GPUs" in error.details


def test_what_is_not_sold_on_demand_names_the_price_of_spot_in_the_place_asked_for():
    error, task = refused(SpecError, "H100", 4, region="us-central1")
    assert error.brief == "gcp sells no H100:4 on demand"
    assert error.details.endswith("a3-highgpu-4g: not sold on demand")
    assert error.resolution == "as spot: use_spot: true  $25.31/h in us-central1"
    assert task.pointed == ["resources.use_spot"]


def test_an_unknown_price_of_spot_is_not_invented():
    error, _ = refused(SpecError, "H200", 8)
    assert error.resolution.startswith("as spot: use_spot: true in ")


def test_what_is_only_listed_as_spot_says_so():
    error, _ = refused(SpecError, "L4", keep=lambda o: o.capacity_type is CapacityType.SPOT)
    assert "g2-standard-4: sold as spot, asked on demand" in error.details
    error, _ = refused(
        SpecError,
        "L4",
        keep=lambda o: o.capacity_type is CapacityType.ON_DEMAND,
        capacity_type=CapacityType.SPOT,
    )
    assert "on demand: use_spot: false  $0.71/h in us-east4" in error.resolution


def test_the_wrong_region_says_where_it_is_sold():
    error, task = refused(SpecError, "L4", region="us-south1")
    assert error.brief == "gcp has no L4:1 in us-south1"
    assert "it is sold in asia-east1" in error.details
    assert "and 4 more" in error.details
    assert error.resolution == "elsewhere: --infra gcp/us-east4  $0.71/h"
    assert task.pointed == ["infra"]


@pytest.mark.parametrize(
    ("place", "likely"),
    [({"region": "us-centrall1"}, "us-central1"), ({"zone": "us-central-a"}, "us-central1-a")],
)
def test_a_misspelt_place_is_answered_with_the_likely_one(place, likely):
    error, _ = refused(SpecError, "L4", **place)
    assert f"did you mean {likely}?" in error.details


def test_an_elsewhere_without_a_price_is_still_told():
    error, _ = refused(SpecError, "H200", 8, capacity_type=CapacityType.SPOT, region="us-east1")
    assert error.resolution == "elsewhere: --infra gcp/asia-south1"


@pytest.mark.parametrize(
    ("need", "key"),
    [
        ({"cpus": Bound(minimum=Decimal(64))}, "resources.cpus"),
        ({"memory_gib": Bound(minimum=Decimal(999))}, "resources.memory"),
    ],
)
def test_an_impossible_size_names_the_largest(need, key):
    error, task = refused(SpecError, "L4", **need)
    assert error.brief == "gcp has no L4:1 of that size"
    assert "g2-standard-32 (32 vCPU, 128 GiB)" in error.details
    assert task.pointed == [key]


def test_a_misspelt_instance_type_is_answered_with_the_likely_one():
    error, _ = refused(SpecError, instance_type="a2-highgpu-1h")
    assert "did you mean a2-highgpu-1g?" in error.resolution


def test_an_instance_type_like_no_other_is_answered_with_what_there_is():
    error, _ = refused(SpecError, instance_type="Ω; rm -rf 'x'")
    assert error.resolution.startswith("one of: a2-highgpu-1g")


def test_an_instance_type_with_other_gpus_says_what_it_has():
    error, _ = refused(SpecError, "T4", instance_type="a2-highgpu-1g")
    assert error.brief == "a2-highgpu-1g has no T4"
    assert "a2-highgpu-1g has A100:1" in error.details
    error, _ = refused(SpecError, "T4", instance_type="e2-standard-2")
    assert "e2-standard-2 has no GPU" in error.details


def test_a_cloud_of_gpus_alone_says_so():
    error, _ = refused(SpecError, keep=lambda o: o.accelerator is not None)
    assert error.brief == "gcp has no machine without a GPU"
    assert "accelerators: A100" in error.resolution


def test_a_cloud_that_lists_nothing_says_so():
    error, _ = refused(SpecError, "L4", keep=lambda _: False)
    assert error.brief == "gcp sells nothing that could be asked for"
    assert "no offering for L4:1" in error.details


def test_a_gpu_that_the_default_image_does_not_run_is_said_so():
    error, task = refused(SpecError, "V100")
    assert error.brief == "the default image does not do for V100:1 on gcp"
    assert "no longer runs V100" in error.details
    assert task.pointed == ["resources.image"]


def test_a_retired_image_is_answered_with_current_ones():
    error, _ = refused(SpecError, "L4", image="tf-2-15-cu121")
    assert "retired on 2026-07-11" in error.details
    assert IMAGE.family in error.resolution


def test_a_disk_smaller_than_the_image_points_at_its_line():
    error, task = refused(SpecError, "L4", disk_gib=20)
    assert error.brief == "a disk of 20 GB is too small"
    assert "smaller than the image (50 GB)" in error.details
    assert task.pointed == ["resources.disk_size"]


def test_a_limit_below_the_worst_case_says_both_figures_and_what_would_fit():
    error, _ = refused(BudgetError, "L4", max_cost=Decimal(2))
    assert error.exit_code == 73
    assert error.brief == "this may cost $4.31, more than max_cost $2.00"
    assert error.details == (
        "1 × g2-standard-4 at $0.72/h, disks included, for 6h and the 150 s that the cloud may be late"
    )
    assert error.resolution == "--max-duration 2h46m fits, or max_cost: 4.31"


def test_the_duration_that_is_offered_really_fits():
    task = Task(Need(accelerators=(Accelerator("L4"),)), max_cost=Decimal(2))
    found = make_plan(
        task,
        provider=Table(lambda _: True),
        cluster_name="c",
        max_duration=timedelta(hours=2, minutes=46),
        autostop_minutes=None,
        clock=ManualClock(),
        stockouts={},
    )
    assert found.best.worst_case_usd <= 2


def test_a_limit_below_a_minute_offers_only_a_higher_one():
    error, _ = refused(BudgetError, "L4", max_cost=Decimal("0.01"))
    assert error.resolution == "max_cost: 4.31"


def test_a_limit_with_an_unknown_price_is_refused():
    error, _ = refused(BudgetError, "H200", 8, capacity_type=CapacityType.SPOT, max_cost=Decimal(9))
    assert error.brief == "the price of H200:8 is unknown, so max_cost cannot be held"
    error, _ = refused(BudgetError, "H200", 8, capacity_type=CapacityType.SPOT, max_usd_per_hour=Decimal(9))
    assert error.brief == "the price of H200:8 is unknown, so max_hourly_cost cannot be held"
    assert "and 1 more" in error.details


def test_an_hourly_limit_below_the_cheapest_says_what_it_costs_and_that_spot_would_do():
    error, _ = refused(BudgetError, "L4", max_usd_per_hour=Decimal("0.5"))
    assert error.exit_code == 73
    assert error.brief == "nothing costs $0.50/h or less; the cheapest is $0.72/h"
    assert "g2-standard-4  us-east4-a  $0.72/h is above" in error.details
    assert error.resolution.splitlines()[0] == "max_hourly_cost: 0.72, or ask for less"
    assert error.resolution.splitlines()[1].startswith("as spot: use_spot: true")


def test_spot_is_not_offered_where_it_is_too_dear_as_well():
    error, _ = refused(BudgetError, "L4", max_usd_per_hour=Decimal("0.1"), num_nodes=4)
    assert error.resolution == "max_hourly_cost: 2.85, or ask for less"
