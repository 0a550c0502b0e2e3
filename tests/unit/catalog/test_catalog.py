"""The table of offerings: what a row becomes, what a broken one says, and that the shipped table is sound."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from gpuforge.catalog.catalog import COLUMNS, GCE_OFFERINGS, gce_offerings, read_offerings, read_rows
from gpuforge.errors import StateError
from gpuforge.models.resources import Accelerator, CapacityType

ROW = "sim-l4,sim-central1,sim-central1-a sim-central1-b,4,16,l4,1,,0.71,0.4,0.1,,2026-07-30,a page"
HEADING = ",".join(COLUMNS)


@pytest.fixture
def table(tmp_path):
    def write(*lines, heading=HEADING):
        path = tmp_path / "ta ble.csv"
        path.write_text("\n".join([heading, *lines]) + "\n", encoding="utf-8")
        return path

    return write


def test_a_row_is_an_on_demand_and_a_spot_offering_in_each_zone(table):
    offerings = read_offerings(table(ROW), "fake")
    assert [(o.zone, str(o.capacity_type)) for o in offerings] == [
        ("sim-central1-a", "on_demand"),
        ("sim-central1-a", "spot"),
        ("sim-central1-b", "on_demand"),
        ("sim-central1-b", "spot"),
    ]


def test_an_offering_carries_what_the_row_says(table):
    first, spot, *_ = read_offerings(table(ROW), "fake")
    assert (first.provider, first.region, first.instance_type) == ("fake", "sim-central1", "sim-l4")
    assert first.accelerator == Accelerator("L4", 1, 24)
    assert (first.vcpus, first.memory_gib, first.arch, first.restriction) == (4, Decimal(16), "x86_64", "")
    assert (first.price.usd_per_hour, first.price.as_of, first.price.source) == (
        Decimal("0.71"),
        date(2026, 7, 30),
        "a page",
    )
    assert spot.price.usd_per_hour == Decimal("0.4")
    assert first.disk_usd_per_gib_month == Decimal("0.1")


def test_an_empty_price_stays_unknown(table):
    first, spot = read_offerings(table("t,r,r-a,2,8,,,arm64,,,,,2026-07-30,x"), "fake")
    assert first.price is None
    assert spot.price is None
    assert first.disk_usd_per_gib_month is None
    assert first.accelerator is None
    assert first.arch == "arm64"


def test_date_and_source_may_stand_in_the_heading(tmp_path):
    path = tmp_path / "t.csv"
    columns = ",".join(COLUMNS[:-2])
    path.write_text(
        f"# a table\n# as_of: 2026-01-02\n# source: a page: of facts\n{columns}\nt,r,r-a,2,8,,,,1,0.5,,\n",
        encoding="utf-8",
    )
    price = read_offerings(path, "fake")[0].price
    assert (price.as_of, price.source) == (date(2026, 1, 2), "a page: of facts")


def test_a_restriction_names_its_capacity_type(table):
    on_demand, spot = read_offerings(
        table("t,r,r-a,2,8,,,,,,,on_demand: not sold on demand,2026-07-30,x"), "fake"
    )
    assert on_demand.restriction == "not sold on demand"
    assert spot.restriction == ""


def test_a_restriction_without_a_capacity_type_holds_for_all(table):
    offerings = read_offerings(table("t,r,r-a,2,8,,,,,,,reservation only,2026-07-30,x"), "fake")
    assert {o.restriction for o in offerings} == {"reservation only"}


def test_restrictions_of_both_types_are_told_apart(table):
    on_demand, spot = read_offerings(table("t,r,r-a,2,8,,,,,,,on_demand: a; spot: b,2026-07-30,x"), "fake")
    assert (on_demand.restriction, spot.restriction) == ("a", "b")


@pytest.mark.parametrize(
    "row",
    [
        "sim,r,r-a,four,16,,,,1,,,,2026-07-30,x",
        "sim,r,r-a,4,much,,,,1,,,,2026-07-30,x",
        "sim,r,r-a,4,16,H1OO,1,,1,,,,2026-07-30,x",
        "sim,r,r-a,4,16,,,,cheap,,,,2026-07-30,x",
        "sim,r,r-a,4,16,,,,1,,,,30 July,x",
        "sim,r",
    ],
)
def test_a_row_that_cannot_be_read_is_named(table, row):
    with pytest.raises(StateError, match="sim in r"):
        read_offerings(table(row), "fake")


def test_a_file_without_the_columns_is_no_table(table):
    with pytest.raises(StateError, match="missing columns: region"):
        read_offerings(table(heading="instance_type,zones"), "fake")


def test_the_shipped_table_never_prices_spot_above_on_demand():
    rows = list(read_rows(GCE_OFFERINGS))
    both = [row.prices for row in rows if len(row.prices) == 2]
    assert len(both) > 500
    assert all(
        prices[CapacityType.SPOT].usd_per_hour <= prices[CapacityType.ON_DEMAND].usd_per_hour
        for prices in both
    )


def test_every_shipped_price_is_positive_and_has_a_date_and_a_source():
    prices = [price for row in read_rows(GCE_OFFERINGS) for price in row.prices.values()]
    assert all(price.usd_per_hour > 0 and price.source for price in prices)
    assert {price.as_of for price in prices} == {date(2026, 7, 30), date(2026, 7, 16)}


def test_shipped_zones_lie_in_their_region_and_every_key_is_unique():
    offerings = gce_offerings()
    assert all(o.zone.rpartition("-")[0] == o.region for o in offerings)
    assert len({o.key for o in offerings}) == len(offerings)


@pytest.mark.parametrize(
    "instance_type",
    ["a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g", "a3-ultragpu-8g", "a4-highgpu-8g"],
)
def test_types_that_are_not_sold_on_demand_say_so_and_have_no_such_price(instance_type):
    rows = [o for o in gce_offerings() if o.instance_type == instance_type]
    on_demand = [o for o in rows if o.capacity_type is CapacityType.ON_DEMAND]
    spot = [o for o in rows if o.capacity_type is CapacityType.SPOT]
    assert on_demand
    assert {(o.restriction, o.price) for o in on_demand} == {("not sold on demand", None)}
    assert {o.restriction for o in spot} == {""}


def test_the_price_of_an_attached_gpu_is_the_sum_of_both_parts():
    wanted = "gcp/us-central1-a/n1-standard-4+1xT4/on_demand"
    found = next(o for o in gce_offerings() if o.key == wanted)
    assert found.price.usd_per_hour == Decimal("0.189999") + Decimal("0.35")


def test_known_prices_stand_in_the_shipped_table():
    prices = {
        (o.instance_type, str(o.capacity_type)): o.price.usd_per_hour
        for o in gce_offerings()
        if o.region == "us-central1" and o.price is not None
    }
    assert prices["a2-highgpu-1g", "on_demand"] == Decimal("3.673385")
    assert prices["a3-highgpu-8g", "on_demand"] == Decimal("88.49")
    assert prices["g2-standard-4", "spot"] == Decimal("0.397336")


def test_the_shipped_table_is_read_once():
    assert gce_offerings() is gce_offerings()
