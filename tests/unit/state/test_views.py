"""Clusters, intents and reservations as they follow from the rows, and damaged rows refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from gpuforge.errors import StateError
from gpuforge.models.cluster import ClusterState, Node
from gpuforge.models.image import Image
from gpuforge.models.instance import HostKey, HttpCall, InstanceRef, PreparedCreate, Route
from gpuforge.models.offering import Offering
from gpuforge.models.resources import CapacityType
from gpuforge.state import codec
from gpuforge.state.journal import Journal, NewRow, RowKind
from gpuforge.state.views import (
    clusters,
    find_cluster,
    history,
    open_intents,
    ready_body,
    reservations,
    tries,
)

DEADLINE = datetime(2026, 1, 1, 6, tzinfo=UTC)
NAMES = ("gf-aaaaaaaaaa-0-1", "gf-aaaaaaaaaa-1-1")


@pytest.fixture
def journal(tmp_path, manual_clock):
    with Journal.open(
        tmp_path / "journal.sqlite3", head_path=tmp_path / "journal.head", clock=manual_clock
    ) as opened:
        yield opened


def ref(name, instance_id=None):
    return InstanceRef(provider="fake", region="r", zone="z", name=name, instance_id=instance_id)


@pytest.fixture
def write(journal):
    """Writes a row of a cluster: ``write(RowKind.ACK, …)``."""

    def append(kind, *, cluster="uuid-1", attempt=1, node="", epoch=0, **body):
        journal.append(
            [NewRow(kind=kind, cluster=cluster, epoch=epoch, attempt=attempt, node=node, body=body)]
        )

    return append


@pytest.fixture
def intend(write):
    """Writes an INTENT and its RESERVE."""

    def both(name="train", *, cluster="uuid-1", attempt=1, epoch=0, **changes):
        prepared = PreparedCreate(
            provider="fake",
            region="r",
            zone="z",
            names=tuple(x[:-1] + str(attempt) for x in NAMES),
            token="token",
            body=b"\x00body",
            deadline=DEADLINE,
        )
        body = {
            "name": name,
            "owner": "ada",
            "simulated": True,
            "intent": f"{attempt}-abc",
            "prepared": codec.prepared_to_json(prepared),
            "offering": codec.offering_to_json(_offering()),
            "image": codec.image_to_json(_image()),
            "disk_gib": 50,
            "labels": {"team": "naïve; 'x'"},
            "usd_per_hour": "0.71",
            "autostop_minutes": 20,
            "ranks": 4,
        }
        write(RowKind.INTENT, cluster=cluster, attempt=attempt, epoch=epoch, **{**body, **changes})
        write(RowKind.RESERVE, cluster=cluster, attempt=attempt, epoch=epoch, usd="4.31")

    return both


def _offering():
    return Offering(
        provider="fake",
        region="r",
        zone="z",
        instance_type="sim-l4",
        accelerator=None,
        vcpus=4,
        memory_gib=Decimal(16),
        capacity_type=CapacityType.SPOT,
        price=None,
        disk_usd_per_gib_month=None,
    )


def _image():
    return Image(
        provider="fake",
        id="i",
        family="f",
        framework="",
        cuda="",
        driver="",
        os="ubuntu",
        arch="x86_64",
        created=date(2026, 1, 1),
    )


def nodes():
    return tuple(
        Node(
            rank=rank,
            ref=ref(name, f"id-{rank}"),
            address=f"10.0.0.{rank}",
            route=Route(host="127.0.0.2", port=22, user="ubuntu", proxy_command=("nc", "%h")),
            host_key=HostKey(kind="ssh-ed25519", blob="AAAA"),
            notice=HttpCall(method="GET", url="http://x/preempted", headers={"Metadata-Flavor": "Google"}),
            self_delete=None,
        )
        for rank, name in enumerate(NAMES)
    )


def test_an_intent_alone_is_a_cluster_being_created(journal, intend):
    journal.lease("uuid-1", {"verb": "up"})
    epoch = journal.tail().seq
    intend(epoch=epoch)

    (cluster,) = clusters(journal)

    assert cluster.state is ClusterState.CREATING
    assert (cluster.name, cluster.uuid, cluster.owner, cluster.attempt) == ("train", "uuid-1", "ada", 1)
    assert [node.ref for node in cluster.nodes] == [ref(name) for name in NAMES]
    assert cluster.labels == {"team": "naïve; 'x'"}
    assert cluster.deadline == DEADLINE
    assert (cluster.usd_per_hour, cluster.reserved_usd) == (Decimal("0.71"), Decimal("4.31"))
    assert (cluster.autostop_minutes, cluster.ranks_per_node, cluster.disk_gib) == (20, 4, 50)
    assert cluster.offering == _offering()
    assert cluster.image == _image()
    assert cluster.simulated
    (attempt,) = open_intents(journal)
    assert attempt.prepared.body == b"\x00body"
    assert not attempt.acked


def test_what_is_unknown_stays_unknown(journal, intend, write):
    intend(usd_per_hour=None, autostop_minutes=None)

    (cluster,) = clusters(journal)

    assert cluster.usd_per_hour is None
    assert cluster.autostop_minutes is None


def test_ids_come_from_the_first_row_that_tells_them(journal, intend, write):
    intend()
    write(
        RowKind.ACK,
        operation="o",
        refs=[codec.ref_to_json(ref(NAMES[0], "7")), codec.ref_to_json(ref(NAMES[1]))],
    )
    write(
        RowKind.ACK,
        operation="o",
        refs=[codec.ref_to_json(ref(NAMES[0], "8")), codec.ref_to_json(ref(NAMES[1], "9"))],
    )

    (attempt,) = tries(journal, "uuid-1")

    assert [found.instance_id for found in attempt.refs] == ["7", "9"]
    assert attempt.acked


def test_ready_tells_everything_needed_to_reach_the_nodes(journal, intend, write):
    intend()
    write(RowKind.READY, **ready_body(nodes(), ranks_per_node=2))

    cluster = find_cluster(journal, "train")

    assert cluster.state is ClusterState.READY
    assert cluster.nodes == nodes()
    assert cluster.ranks_per_node == 2
    assert cluster.head.alias == "fake.id-0"
    assert open_intents(journal) == ()


def test_a_delete_that_was_begun_is_an_open_intent(journal, intend, write):
    intend()
    write(RowKind.READY, **ready_body(nodes(), ranks_per_node=2))
    write(RowKind.DELETE_INTENT, refs=[])

    (attempt,) = open_intents(journal)

    assert attempt.cluster.state is ClusterState.DELETING
    assert attempt.cluster.nodes == nodes()


def test_nodes_that_are_gone_are_no_longer_asked_about(journal, intend, write):
    intend()
    write(RowKind.READY, **ready_body(nodes(), ranks_per_node=2))
    write(RowKind.GONE, node=NAMES[0])

    (attempt,) = tries(journal, "uuid-1")

    assert attempt.cluster.state is ClusterState.READY
    assert [found.name for found in attempt.live_refs] == [NAMES[1]]


def test_all_nodes_gone_without_release_is_still_to_be_closed(journal, intend, write):
    intend()
    write(RowKind.READY, **ready_body(nodes(), ranks_per_node=2))
    for name in NAMES:
        write(RowKind.GONE, node=name)

    assert find_cluster(journal, "train").state is ClusterState.DELETING


def test_a_released_cluster_is_gone_and_shown_only_when_asked(journal, intend, write):
    intend()
    write(RowKind.GONE, node=NAMES[0])
    write(RowKind.RELEASE)

    assert clusters(journal) == ()
    assert find_cluster(journal, "train") is None
    assert reservations(journal) == ()
    (cluster,) = clusters(journal, include_gone=True)
    assert cluster.state is ClusterState.GONE


def test_a_failed_attempt_gives_way_to_the_next(journal, intend, write):
    intend()
    write(RowKind.FAILED, code="capacity")
    write(RowKind.RELEASE)
    (failed,) = clusters(journal, include_gone=True)
    intend(attempt=2)

    (cluster,) = clusters(journal)

    assert failed.state is ClusterState.FAILED
    assert cluster.attempt == 2
    assert cluster.state is ClusterState.CREATING
    (reservation,) = reservations(journal)
    assert (reservation.cluster, reservation.attempt, reservation.usd) == ("uuid-1", 2, Decimal("4.31"))
    assert reservation.until == DEADLINE


def test_an_attempt_that_is_still_open_speaks_before_a_newer_closed_one(journal, intend, write):
    intend()
    intend(attempt=2)
    write(RowKind.RELEASE, attempt=2)

    assert [cluster.attempt for cluster in clusters(journal)] == [1]


def test_the_newest_cluster_of_a_name_is_found(journal, intend):
    intend(cluster="uuid-1")
    intend(cluster="uuid-2")

    assert find_cluster(journal, "train").uuid == "uuid-2"


def test_history_holds_every_row_of_every_cluster_of_the_name(journal, intend, write):
    intend(cluster="uuid-1")
    intend("another", cluster="uuid-2")
    intend(cluster="uuid-3")
    write(RowKind.RELEASE, cluster="uuid-1")

    rows = history(journal, "train")

    assert [row.cluster for row in rows] == ["uuid-1", "uuid-1", "uuid-3", "uuid-3", "uuid-1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"prepared": None},
        {"prepared": {"names": 7}},
        {"offering": {}},
        {"labels": []},
        {"usd_per_hour": "much"},
        {"ranks": "four"},
    ],
)
def test_rows_that_describe_no_cluster_are_a_typed_error(journal, intend, changes):
    intend(**changes)

    with pytest.raises(StateError, match="rows 2 to 3 do not describe a cluster"):
        clusters(journal)


def test_rows_without_an_intent_are_a_typed_error(journal, write):
    write(RowKind.RESERVE, usd=None)

    with pytest.raises(StateError, match="do not describe a cluster"):
        clusters(journal)
