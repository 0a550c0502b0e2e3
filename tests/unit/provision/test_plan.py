"""The plan: order, prices, what is left out and why, and that planning is deterministic and complete."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuforge.errors import BudgetError, GpuforgeError, Mistake, RateLimitError, SpecError
from gpuforge.images.select import select_image
from gpuforge.models.image import Image
from gpuforge.models.money import Price
from gpuforge.models.offering import Offering
from gpuforge.models.resources import Accelerator, Bound, CapacityType, Mark, Need, Needs
from gpuforge.provision.plan import make_plan, to_data
from gpuforge.spec.load import load_task_text
from gpuforge.spec.overrides import Overrides
from gpuforge.testing.clock import ManualClock

IMAGE = Image(
    provider="fake",
    id="pytorch-2-9-v1",
    family="pytorch-2-9-cu129-ubuntu-2404-nvidia-580",
    framework="pytorch-2.9",
    cuda="12.9",
    driver="580",
    os="ubuntu-24.04",
    arch="x86_64",
    created=date(2026, 4, 1),
    min_disk_gib=10,
)


@dataclass
class Task:
    """What planning reads of a task."""

    wanted: Needs
    num_nodes: int = 1
    max_cost: Decimal | None = None
    marks: tuple[str, ...] = ()
    file_mounts: tuple = ()

    def needs(self):
        return self.wanted

    def mark(self, keypath):
        if keypath not in self.marks:
            return None
        return Mark(file="gpuforge.yaml", line=7, column=3, snippet=keypath)

    def mistake(self, keypath, message):
        mark = self.mark(keypath)
        if mark is None:
            return Mistake(where=keypath, message=message)
        return Mistake(where=str(mark), snippet=mark.snippet, message=message)


class Cloud:
    """A provider that sells a list of offerings and has a list of images."""

    name = "fake"
    simulated = True
    power = None

    def __init__(self, offerings, images=(IMAGE,)):
        self.offerings = list(offerings)
        self.images = images
        self.asked = []

    def list_offerings(self, need):
        self.asked.append(need)
        return self.offerings

    def resolve_image(self, query):
        return select_image(self.images, query)


class PickyCloud(Cloud):
    """A provider that lists only what was asked for: place, capacity type and GPU model."""

    def list_offerings(self, need):
        return [
            o
            for o in self.offerings
            if need.region in {None, o.region}
            and o.capacity_type is need.capacity_type
            and (not need.accelerators or o.accelerator.name in {gpu.name for gpu in need.accelerators})
        ]


def sold(gpu="L4", count=1, *, zone="r1-a", price="1", capacity=CapacityType.ON_DEMAND, **other):
    accelerator = None if gpu is None else Accelerator(gpu, count, 24)
    values = {
        "provider": "fake",
        "region": zone[:-2],
        "zone": zone,
        "instance_type": f"sim-{gpu}-{count}",
        "accelerator": accelerator,
        "vcpus": 4,
        "memory_gib": Decimal(16),
        "capacity_type": capacity,
        "price": None
        if price is None
        else Price(usd_per_hour=Decimal(price), as_of=date(2026, 7, 30), source="x"),
        "disk_usd_per_gib_month": Decimal("0.146"),
    }
    return Offering(**{**values, **other})


def plan(offerings, *needs, ordered=False, stockouts=None, cloud=None, clock=None, hours=6, **task):
    needs = needs or (Need(accelerators=(Accelerator("L4"),)),)
    return make_plan(
        Task(Needs(alternatives=needs, ordered=ordered), **task),
        provider=cloud or Cloud(offerings),
        cluster_name="train",
        max_duration=timedelta(hours=hours),
        autostop_minutes=20,
        clock=clock or ManualClock(),
        stockouts=stockouts or {},
    )


def want(*gpus, **other):
    return Need(accelerators=tuple(Accelerator(*gpu) for gpu in gpus), **other)


def zones(found):
    return [option.offering.zone for option in found.options]


def types(found):
    return [option.offering.instance_type for option in found.options]


def reasons(found):
    return [(excluded.offering.instance_type, excluded.reason) for excluded in found.excluded]


def test_a_plan_says_who_when_and_until_when():
    clock = ManualClock()
    found = plan([sold()], clock=clock, num_nodes=2)
    assert (found.cluster_name, found.provider, found.simulated) == ("train", "fake", True)
    assert (found.num_nodes, found.autostop_minutes) == (2, 20)
    assert (found.made_at, found.deadline) == (clock.now(), clock.now() + timedelta(hours=6))
    assert found.max_duration == timedelta(hours=6)


def test_names_reach_the_provider_in_canonical_form_with_their_memory():
    cloud = Cloud([sold("A100")])
    plan([], want(("nvidia-tesla-a100",)), cloud=cloud)
    assert cloud.asked[0].accelerators == (Accelerator("A100", 1, 40),)


def test_the_cheapest_comes_first():
    offerings = [sold(zone="r1-a", price="3"), sold(zone="r2-a", price="1"), sold(zone="r3-a", price="2")]
    assert zones(plan(offerings)) == ["r2-a", "r3-a", "r1-a"]


def test_an_unknown_price_comes_last():
    offerings = [sold(zone="r1-a", price=None), sold(zone="r2-a", price="900")]
    found = plan(offerings)
    assert zones(found) == ["r2-a", "r1-a"]
    assert found.options[1].usd_per_hour is None
    assert found.options[1].worst_case_usd is None


def test_at_the_same_price_the_smallest_machine_comes_first_then_the_zones_name():
    offerings = [
        sold(zone="r1-c", instance_type="big", vcpus=8),
        sold(zone="r1-b"),
        sold(zone="r1-a"),
        sold(zone="r1-d", instance_type="more", memory_gib=Decimal(32)),
    ]
    assert zones(plan(offerings)) == ["r1-a", "r1-b", "r1-d", "r1-c"]


def test_the_price_counts_the_whole_gang_with_its_disks():
    best = plan([sold()], want(("L4",), disk_gib=50), num_nodes=3).best
    assert best.usd_per_hour == Decimal("3.03")
    assert best.worst_case_usd == Decimal("3.03") * Decimal(6 * 3600 + 150) / 3600


def test_the_disk_counts_when_two_are_compared():
    offerings = [sold(zone="r1-a", disk_usd_per_gib_month=Decimal(7)), sold(zone="r2-a", price="1.1")]
    assert zones(plan(offerings)) == ["r2-a", "r1-a"]


def test_a_map_of_gpus_means_the_cheapest_of_them():
    offerings = [sold("H100", 8, price="80"), sold("A100-80GB", 8, price="40")]
    assert types(plan(offerings, want(("H100", 8), ("A100-80GB", 8)))) == ["sim-A100-80GB-8", "sim-H100-8"]


def test_a_list_of_gpus_means_that_order():
    offerings = [sold("H100", 8, price="80"), sold("A100-80GB", 8, price="40")]
    need = want(("H100", 8), ("A100-80GB", 8), accelerators_ordered=True)
    assert types(plan(offerings, need)) == ["sim-H100-8", "sim-A100-80GB-8"]


def test_ordered_needs_come_in_their_order():
    offerings = [sold("L4", price="1"), sold("T4", price="0.5"), sold("A100", price="4")]
    needs = (want(("A100",)), want(("L4",)), want(("T4",)))
    assert types(plan(offerings, *needs, ordered=True)) == ["sim-A100-1", "sim-L4-1", "sim-T4-1"]
    assert types(plan(offerings, *needs)) == ["sim-T4-1", "sim-L4-1", "sim-A100-1"]


def test_an_offering_that_meets_two_needs_is_tried_once_in_the_better_place():
    offerings = [sold("L4"), sold("A100", price="4")]
    needs = (want(("A100",)), want(("L4",), disk_gib=100), want(("L4",), disk_gib=20))
    found = plan(offerings, *needs)
    assert types(found) == ["sim-L4-1", "sim-A100-1"]
    assert found.best.need.disk_gib == 20


def test_what_one_need_refuses_and_another_takes_is_not_left_out():
    found = plan([sold("L4"), sold("A100")], want(("L4",)), want(("A100",)))
    assert found.excluded == ()


def test_each_candidate_left_out_says_why_nearest_first():
    offerings = [
        sold(),
        sold(zone="r2-a"),
        sold(capacity=CapacityType.SPOT, price="0.4"),
        sold(instance_type="sim-flat", restriction="not sold on demand"),
        sold(count=8),
        sold("T4"),
        sold(None),
    ]
    assert reasons(plan(offerings, want(("L4",), region="r1"))) == [
        ("sim-L4-1", "not in r1"),
        ("sim-flat", "not sold on demand"),
        ("sim-L4-1", "sold as spot, asked on demand"),
        ("sim-L4-8", "8 GPUs, too many"),
        ("sim-None-1", "no GPU, not L4:1"),
        ("sim-T4-1", "has T4:1, not L4:1"),
    ]


def test_a_need_without_gpus_takes_the_cheapest_machine_without_one():
    offerings = [
        sold(None, price="0.2", instance_type="cpu-8", vcpus=8),
        sold(None, price="0.05", instance_type="cpu-1", vcpus=1),
        sold(None, price="0.1", instance_type="cpu-2", vcpus=2),
        sold(price="0.01"),
    ]
    assert types(plan(offerings, Need())) == ["cpu-2", "cpu-8"]
    assert types(plan(offerings, Need(cpus=Bound(minimum=Decimal(4))))) == ["cpu-8"]


def test_what_ran_out_minutes_ago_is_left_out_and_says_when():
    clock = ManualClock()
    offerings = [sold(zone="r1-a"), sold(zone="r1-b", price="2"), sold(zone="r1-c", price="2")]
    met = {offerings[0].key: clock.now(), offerings[1].key: clock.now()}
    clock.advance(30)
    met[offerings[1].key] -= timedelta(minutes=2)
    found = plan(offerings, clock=clock, stockouts=met)
    assert zones(found) == ["r1-c"]
    assert reasons(found) == [
        ("sim-L4-1", "out of stock just now"),
        ("sim-L4-1", "out of stock 2 min ago"),
    ]


def test_when_everything_ran_out_minutes_ago_it_is_tried_again():
    clock = ManualClock()
    offerings = [sold(zone="r1-b", price="2"), sold(zone="r1-a")]
    found = plan(offerings, clock=clock, stockouts={o.key: clock.now() for o in offerings})
    assert zones(found) == ["r1-a", "r1-b"]
    assert found.excluded == ()


def test_what_is_dearer_than_the_hourly_limit_is_left_out():
    offerings = [sold(zone="r1-a"), sold(zone="r2-a", price="3"), sold(zone="r3-a", price=None)]
    found = plan(offerings, want(("L4",), max_usd_per_hour=Decimal(4)), num_nodes=2)
    assert zones(found) == ["r1-a"]
    assert [reason for _, reason in reasons(found)] == [
        "$6.02/h is above max_hourly_cost $4.00/h",
        "price unknown, so max_hourly_cost $4.00/h cannot be held",
    ]


def test_what_may_cost_more_than_the_limit_is_never_tried():
    offerings = [sold(zone="r1-a"), sold(zone="r2-a", price="3"), sold(zone="r3-a", price=None)]
    found = plan(offerings, max_cost=Decimal(7))
    assert zones(found) == ["r1-a"]
    assert [reason for _, reason in reasons(found)] == [
        "may cost $18.19, above max_cost $7.00",
        "price unknown, so max_cost $7.00 cannot be held",
    ]


def test_an_image_that_does_not_run_the_gpu_leaves_the_offering_out():
    found = plan([sold(), sold("V100", price="0.1")], want(("L4",), ("V100",)))
    assert types(found) == ["sim-L4-1"]
    assert "no longer runs V100" in found.excluded[0].reason


def test_an_architecture_without_an_image_is_left_out():
    found = plan([sold(), sold(zone="r1-b", price="0.1", arch="arm64")])
    assert zones(found) == ["r1-a"]
    assert found.excluded[0].reason == "there is no default image for arm64"


def test_the_image_asked_for_is_in_the_plan():
    older = replace(IMAGE, id="pytorch-2-7-v1", family="pytorch-2-7", framework="pytorch-2.7")
    cloud = Cloud([sold()], images=(IMAGE, older))
    assert plan([], want(("L4",), image="pytorch-2.7"), cloud=cloud).best.image is older
    assert plan([], want(("L4",)), cloud=cloud).best.image is IMAGE


def test_all_unknown_gpus_are_told_at_once_with_their_line():
    with pytest.raises(SpecError) as caught:
        plan([sold()], want(("H10",), ("tpu-v5",)), marks=("resources.accelerators",))
    assert [mistake.where for mistake in caught.value.mistakes] == ["gpuforge.yaml:7:3"] * 2
    assert "did you mean" in caught.value.mistakes[0].message
    assert "out of scope" in caught.value.mistakes[1].message
    assert caught.value.mistakes[0].snippet == "resources.accelerators"


def test_with_several_needs_each_points_at_its_own_line():
    needs = [
        want((name,), mark=Mark(file="other.yaml", line=n, column=1)) for n, name in ((3, "H10"), (5, "V10"))
    ]
    with pytest.raises(SpecError) as caught:
        plan([sold()], *needs, marks=("resources.accelerators",))
    assert [mistake.where for mistake in caught.value.mistakes] == ["other.yaml:3:1", "other.yaml:5:1"]


def test_without_a_file_the_key_itself_is_named():
    with pytest.raises(SpecError, match=r"resources\.accelerators: no GPU"):
        plan([sold()], want(("H10",)))


def test_a_provider_that_lists_only_the_place_asked_for_still_says_where_it_is_sold():
    cloud = PickyCloud([sold(zone="r1-a"), sold(zone="r2-a", price="2")])
    with pytest.raises(SpecError) as caught:
        plan([], want(("L4",), region="r9"), cloud=cloud)
    assert "it is sold in r1, r2" in caught.value.details


def test_a_provider_that_lists_only_what_was_asked_for_still_says_what_else_would_do():
    spot = sold(capacity=CapacityType.SPOT, price="0.4")
    cloud = PickyCloud([sold(restriction="not sold on demand"), spot, sold("T4")])
    with pytest.raises(SpecError) as caught:
        plan([], want(("L4",)), cloud=cloud)
    assert caught.value.resolution == "as spot: use_spot: true  $0.40/h in r1"
    with pytest.raises(SpecError, match="fake sells L4, T4"):
        plan([], want(("A100",)), cloud=cloud)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("resources:\n  accelerators: H10\nrun: x\n", "task.yaml:2:17"),
        ("resources:\n  gpus: L4:3\nrun: x\n", "task.yaml:2:9"),
        ("infra: fake/r9\nresources: {gpus: L4}\nrun: x\n", "task.yaml:1:8"),
        ("resources:\n  gpus: L4\n  region: r9\nrun: x\n", "task.yaml:3:11"),
        ("region: r8\nresources:\n  gpus: L4\n  zone: r9-a\nrun: x\n", "task.yaml:4:9"),
        ("resources: {gpus: L4, disk_size: 5}\nrun: x\n", "task.yaml:1:34"),
        ("resources: {gpus: L4, image: tf-2-15}\nrun: x\n", "task.yaml:1:30"),
        ("resources: {gpus: L4, use_spot: true}\nrun: x\n", "task.yaml:1:33"),
        ("resources: {gpus: L4, cpus: 99+}\nrun: x\n", "task.yaml:1:29"),
        ("resources: {instance_type: sim-l5}\nrun: x\n", "task.yaml:1:28"),
    ],
)
def test_a_refusal_points_at_the_line_of_the_task_file(tmp_path, text, where):
    task = load_task_text(text, name="task.yaml", environ={}, cwd=tmp_path)
    with pytest.raises(SpecError) as caught:
        plan_task(task)
    assert [mistake.where for mistake in caught.value.mistakes] == [where]


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        (Overrides(region="r9"), "--region"),
        (Overrides(infra="fake/r9"), "--infra"),
        (Overrides(gpus="H10"), "--gpus"),
        (Overrides(image="tf-2-15"), "--image"),
    ],
)
def test_a_refusal_names_the_flag_that_asked_for_it(tmp_path, flags, where):
    text = "infra: fake/r1\nresources: {gpus: L4}\nrun: x\n"
    task = load_task_text(text, name="task.yaml", overrides=flags, environ={}, cwd=tmp_path)
    with pytest.raises(SpecError) as caught:
        plan_task(task)
    assert [mistake.where for mistake in caught.value.mistakes] == [where]


def test_a_task_file_is_planned_with_its_limits(tmp_path):
    text = "resources: {gpus: 'L4', max_hourly_cost: 2}\nnum_nodes: 2\nmax_cost: 9\nrun: x\n"
    task = load_task_text(text, name="task.yaml", environ={}, cwd=tmp_path)
    with pytest.raises(BudgetError, match="nothing costs"):
        plan_task(task)


def plan_task(task):
    return make_plan(
        task,
        provider=Cloud([sold(), sold("T4")]),
        cluster_name="c",
        max_duration=timedelta(hours=6),
        autostop_minutes=20,
        clock=ManualClock(),
        stockouts={},
    )


def test_an_error_of_the_provider_is_not_hidden():
    class Busy(Cloud):
        def list_offerings(self, need):
            raise RateLimitError("too many calls")

    with pytest.raises(RateLimitError):
        plan([], cloud=Busy([]))


def test_a_limit_below_the_cheapest_is_refused():
    with pytest.raises(BudgetError, match=r"max_cost \$1.00"):
        plan([sold()], max_cost=Decimal(1))


def test_the_plan_as_data_is_json_with_money_as_text():
    found = plan([sold(), sold(zone="r1-b", price=None), sold(None)])
    data = json.loads(json.dumps(to_data(found)))
    assert (data["cluster"], data["currency"], data["max_duration_seconds"]) == ("train", "USD", 21600)
    assert (data["made_at"], data["deadline"]) == ("2026-01-01T00:00:00Z", "2026-01-01T06:00:00Z")
    first, second = data["options"]
    assert (first["zone"], first["gang_usd_per_hour"], first["worst_case_usd"]) == (
        "r1-a",
        "1.010000",
        "6.102084",
    )
    assert (first["usd_per_hour"], first["price_as_of"], first["image"]["driver"]) == (
        "1.000000",
        "2026-07-30",
        "580",
    )
    assert (second["usd_per_hour"], second["worst_case_usd"], second["price_as_of"]) == (None, None, None)
    (left_out,) = data["excluded"]
    assert (left_out["accelerator"], left_out["accelerator_count"]) == (None, 0)
    assert left_out["reason"] == "no GPU, not L4:1"


GPUS = st.sampled_from(["L4", "T4", "A100", None])
OFFERINGS = st.lists(
    st.builds(
        sold,
        gpu=GPUS,
        count=st.sampled_from([1, 2, 8]),
        zone=st.sampled_from(["r1-a", "r1-b", "r2-a"]),
        price=st.sampled_from(["0.1", "1", "2.5", None]),
        capacity=st.sampled_from([CapacityType.ON_DEMAND, CapacityType.SPOT]),
        restriction=st.sampled_from(["", "", "not sold on demand"]),
        vcpus=st.sampled_from([2, 4, 64]),
        disk_usd_per_gib_month=st.sampled_from([Decimal("0.1"), None]),
    ),
    max_size=12,
    unique_by=lambda offering: offering.key,
)
NEEDS = st.lists(
    st.builds(
        Need,
        accelerators=st.lists(
            st.builds(Accelerator, st.sampled_from(["L4", "t4", "a100-40gb"]), st.sampled_from([1, 2, 8])),
            max_size=2,
        ).map(tuple),
        accelerators_ordered=st.booleans(),
        capacity_type=st.sampled_from([CapacityType.ON_DEMAND, CapacityType.SPOT]),
        region=st.sampled_from([None, None, "r1", "r2", "r3"]),
        zone=st.sampled_from([None, None, "r1-b"]),
        cpus=st.sampled_from([None, Bound(minimum=Decimal(4)), Bound(maximum=Decimal(2))]),
        instance_type=st.sampled_from([None, None, None, "sim-L4-1", "none"]),
        disk_gib=st.sampled_from([5, 50]),
        max_usd_per_hour=st.sampled_from([None, None, Decimal(2)]),
    ),
    min_size=1,
    max_size=3,
)


def attempt(offerings, needs, ordered, stockouts, **task):
    """The plan, or its refusal."""
    try:
        return plan(offerings, *needs, ordered=ordered, stockouts=stockouts, **task)
    except (SpecError, BudgetError) as refusal:
        return refusal


@settings(deadline=None)  # a busy computer is no defect
@given(OFFERINGS, NEEDS, st.booleans())
def test_every_refusal_says_what_why_and_what_to_do(offerings, needs, ordered):
    found = attempt(offerings, needs, ordered, {})
    if isinstance(found, GpuforgeError):
        assert all((found.brief, found.details, found.resolution))


@settings(deadline=None)  # a busy computer is no defect
@given(OFFERINGS, NEEDS, st.booleans(), st.data())
def test_the_order_of_the_providers_list_does_not_matter(offerings, needs, ordered, data):
    shuffled = data.draw(st.permutations(offerings))
    first, second = attempt(offerings, needs, ordered, {}), attempt(shuffled, needs, ordered, {})
    assert first == second or str(first) == str(second)


@settings(deadline=None)  # a busy computer is no defect
@given(OFFERINGS, NEEDS, st.booleans(), st.data())
def test_every_offering_is_an_option_or_left_out_exactly_once(offerings, needs, ordered, data):
    now = ManualClock().now()
    gone = data.draw(st.sets(st.sampled_from([o.key for o in offerings]))) if offerings else set()
    found = attempt(offerings, needs, ordered, dict.fromkeys(gone, now), max_cost=Decimal(10))
    if isinstance(found, GpuforgeError):
        return
    keys = [item.offering.key for item in (*found.options, *found.excluded)]
    assert sorted(keys) == sorted(offering.key for offering in offerings)
    assert all(excluded.reason for excluded in found.excluded)
    tried = {option.offering.key for option in found.options}
    assert not (tried & gone) or tried <= gone


@settings(deadline=None)  # a busy computer is no defect
@given(OFFERINGS, NEEDS, st.integers(1, 4), st.integers(1, 48))
def test_no_option_breaks_a_limit_and_the_worst_case_covers_the_whole_time(offerings, needs, nodes, hours):
    found = attempt(offerings, needs, False, {}, num_nodes=nodes, hours=hours, max_cost=Decimal(50))
    if isinstance(found, GpuforgeError):
        return
    for option in found.options:
        assert option.offering.price.usd_per_hour * nodes * hours <= option.worst_case_usd <= 50
        limit = option.need.max_usd_per_hour
        assert limit is None or option.usd_per_hour <= limit
        assert option.offering.restriction == ""
        assert option.offering.capacity_type is option.need.capacity_type
