"""Clusters and their nodes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from gpuforge.models.cluster import Cluster, ClusterState, Node
from gpuforge.models.image import Image
from gpuforge.models.instance import InstanceRef
from gpuforge.models.offering import Offering
from gpuforge.models.resources import CapacityType

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)


def _node(rank: int, instance_id: str | None) -> Node:
    ref = InstanceRef(
        provider="fake", region="r", zone="z", name=f"gf-k3v9q2mx7a-{rank}-1", instance_id=instance_id
    )
    return Node(rank=rank, ref=ref)


def _cluster(*nodes: Node) -> Cluster:
    offering = Offering(
        provider="fake", region="r", zone="z", instance_type="sim-l4", accelerator=None, vcpus=4,
        memory_gib=Decimal(16), capacity_type=CapacityType.SPOT, price=None, disk_usd_per_gib_month=None,
    )  # fmt: skip
    image = Image(
        provider="fake",
        id="i",
        family="f",
        framework="",
        cuda="",
        driver="",
        os="",
        arch="",
        created=date.min,
    )
    return Cluster(
        name="train", uuid="u", owner="me", attempt=1, state=ClusterState.READY, nodes=nodes,
        offering=offering, image=image, disk_gib=50, labels={}, created=NOW, deadline=NOW,
        usd_per_hour=None, reserved_usd=None, autostop_minutes=20, ranks_per_node=1, simulated=True,
    )  # fmt: skip


def test_node_zero_is_the_head():
    """Where a one-node job runs, and where torchrun's rendezvous stands."""
    head, other = _node(0, "7"), _node(1, "8")

    assert _cluster(head, other).head is head


def test_a_host_key_is_pinned_under_the_instance_id_not_its_name():
    """A name can be given to another machine; the cloud never gives an id again."""
    assert _node(0, "7").alias == "fake.7"
    assert _node(0, "7").alias != _node(0, "8").alias


def test_states_are_the_words_of_the_journal():
    """They are stored as text."""
    assert [str(state) for state in ClusterState] == ["creating", "ready", "deleting", "gone", "failed"]
