"""What the cloud says of a machine that does not answer: over, by whose doing, or not known."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gpuforge.errors import DeadlineError, ProviderError, ProviderUnavailableError
from gpuforge.models.instance import Instance, InstanceState, Listing
from gpuforge.provision.health import ended, in_a_word
from gpuforge.provision.reconcile import ClusterStatus
from gpuforge.testing.nodes import local_cluster

CLUSTER = local_cluster(2)


def instance(rank, state, reason=""):
    return Instance(
        ref=CLUSTER.nodes[rank].ref,
        state=state,
        instance_type="sim-cpu",
        capacity_type="on_demand",
        created=CLUSTER.created,
        deadline=CLUSTER.deadline,
        reason=reason,
    )


class Cloud:
    """Answers every list alike."""

    def __init__(self, *instances, complete=True, late=False, error=None):
        moment = CLUSTER.deadline if late else CLUSTER.deadline - timedelta(minutes=1)
        warnings = () if complete else ("zone b is silent",)
        self.listing = Listing(
            instances=instances, disks=(), server_time=moment, complete=complete, warnings=warnings
        )
        self.error = error

    def list(self, selector):
        if self.error is not None:
            raise self.error
        return self.listing


def why(cloud, rank=1):
    return ended(lambda _name: cloud, CLUSTER, rank)


@pytest.mark.parametrize("state", [InstanceState.PENDING, InstanceState.RUNNING])
def test_a_machine_that_may_come_back_is_waited_for(state):
    assert why(Cloud(instance(1, state))) is None


@pytest.mark.parametrize(
    "cloud", [Cloud(error=ProviderUnavailableError("no answer")), Cloud(complete=False)], ids=["down", "part"]
)
def test_a_cloud_that_cannot_say_is_no_proof(cloud):
    assert why(cloud) is None


def test_one_that_ended_is_named_with_the_clouds_own_reason():
    error = why(Cloud(instance(1, InstanceState.STOPPED, "powered off from inside")))

    assert type(error) is ProviderError
    assert error.exit_code == 67
    assert "node 1 of local has ended" in error.brief
    assert error.details == "its cloud says: stopped: powered off from inside"
    assert "gpuforge down local" in error.resolution


def test_one_that_is_not_there_is_gone_and_past_its_deadline_that_is_the_reason():
    assert why(Cloud()).details == "its cloud says: it is gone"
    late = why(Cloud(instance(1, InstanceState.DELETING), late=True))

    assert isinstance(late, DeadlineError)
    assert late.exit_code == 75
    assert "its deadline was" in late.details


def test_a_cluster_is_what_the_worst_of_its_nodes_is():
    running, stopped = instance(0, InstanceState.RUNNING), instance(1, InstanceState.STOPPED)

    def told(*instances, unknown=""):
        return in_a_word(ClusterStatus(cluster=CLUSTER, instances=instances, unknown=unknown))

    assert told(running, running) == "running"
    assert told(running, stopped) == "stopped"
    assert told(running, None) == "gone"
    assert told(None, None, unknown="no answer") == "running"
    assert in_a_word(None) == "running"
