"""What a cluster cost follows from the journal's own times, failed attempts included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from gpuforge.cost.ledger import spent
from gpuforge.models.image import Image
from gpuforge.models.instance import InstanceRef, PreparedCreate
from gpuforge.models.offering import Offering
from gpuforge.models.resources import CapacityType
from gpuforge.state import codec, views
from gpuforge.state.journal import Journal, NewRow, RowKind

UUID = "uuid-1"
OFFERING = Offering(
    provider="fake", region="r", zone="z", instance_type="sim-l4", accelerator=None, vcpus=4,
    memory_gib=Decimal(16), capacity_type=CapacityType.ON_DEMAND, price=None, disk_usd_per_gib_month=None,
)  # fmt: skip
IMAGE = Image(
    provider="fake", id="i", family="f", framework="", cuda="", driver="", os="", arch="",
    created=date(2026, 1, 1)
)  # fmt: skip


@pytest.fixture
def journal(tmp_path, manual_clock):
    with Journal.open(tmp_path / "j.sqlite3", head_path=tmp_path / "head", clock=manual_clock) as opened:
        yield opened


@pytest.fixture
def write(journal):
    def append(kind, *, attempt=1, node="", **body):
        journal.append([NewRow(kind=kind, cluster=UUID, epoch=0, attempt=attempt, node=node, body=body)])

    return append


@pytest.fixture
def create(write):
    """An attempt that the cloud took: two machines at the price given."""

    def attempt(number=1, *, price="6.00", acked=True):
        names = (f"gf-aaaaaaaaaa-0-{number}", f"gf-aaaaaaaaaa-1-{number}")
        prepared = PreparedCreate(
            provider="fake", region="r", zone="z", names=names, token="t", body=b"",
            deadline=datetime(2030, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        body = {
            "name": "train", "owner": "ada", "simulated": True, "intent": "1-abc",
            "prepared": codec.prepared_to_json(prepared), "offering": codec.offering_to_json(OFFERING),
            "image": codec.image_to_json(IMAGE), "disk_gib": 50, "labels": {}, "usd_per_hour": price,
            "autostop_minutes": None, "ranks": 1,
        }  # fmt: skip
        write(RowKind.INTENT, attempt=number, **body)
        write(RowKind.RESERVE, attempt=number, usd=None)
        if acked:
            refs = [InstanceRef(provider="fake", region="r", zone="z", name=n, instance_id=n) for n in names]
            write(RowKind.ACK, attempt=number, operation="o", refs=[codec.ref_to_json(ref) for ref in refs])
        return names

    return attempt


def cost(journal, clock):
    (cluster,) = views.clusters(journal, include_gone=True)
    return spent(journal, cluster, now=clock.now())


def test_a_live_cluster_costs_until_now(journal, create, manual_clock):
    """From its intent: a little early, never late."""
    began = manual_clock.now()
    create()
    manual_clock.advance(1800)

    told = cost(journal, manual_clock)

    assert told.usd == Decimal("3.00")
    assert (told.since, told.until) == (began, manual_clock.now())
    assert (told.cluster, told.simulated) == ("train", True)


def test_a_cluster_costs_until_its_last_machine_was_gone(journal, create, write, manual_clock):
    """Not longer, whenever somebody asks."""
    names = create()
    manual_clock.advance(600)
    write(RowKind.GONE, node=names[0])
    manual_clock.advance(600)
    write(RowKind.GONE, node=names[1])
    write(RowKind.RELEASE)
    gone = manual_clock.now()
    manual_clock.advance(86400)

    told = cost(journal, manual_clock)

    assert told.usd == Decimal("2.00")
    assert told.until == gone


def test_an_attempt_that_failed_after_it_was_taken_counts(journal, create, write, manual_clock):
    """Its machines ran until the cloud took them away; one that was never taken is free."""
    create(1)
    manual_clock.advance(600)
    write(RowKind.FAILED, attempt=1, error="capacity")
    write(RowKind.RELEASE, attempt=1)
    create(2, acked=False)
    manual_clock.advance(600)
    write(RowKind.FAILED, attempt=2, error="capacity")
    write(RowKind.RELEASE, attempt=2)
    create(3, price="12.00")
    manual_clock.advance(600)

    assert cost(journal, manual_clock).usd == Decimal("1.00") + Decimal("2.00")


def test_an_unknown_price_makes_the_whole_unknown(journal, create, manual_clock):
    """Never 0."""
    create(price=None)
    manual_clock.advance(600)

    assert cost(journal, manual_clock).usd is None


def test_before_anything_was_taken_nothing_was_spent(journal, create, manual_clock):
    """And the interval is empty."""
    create(acked=False)
    manual_clock.advance(600)

    told = cost(journal, manual_clock)

    assert told.usd == 0
    assert told.until - told.since == timedelta()


def test_a_clock_that_went_back_makes_no_money(journal, create, manual_clock):
    """An interval is never negative."""
    create()
    manual_clock.jump(-3600)

    assert cost(journal, manual_clock).usd == 0
