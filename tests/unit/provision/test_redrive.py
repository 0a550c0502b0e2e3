"""An intent without an answer is sent again, then given back; silence is a leftover, never an absence."""

from __future__ import annotations

import pytest

from gpuforge.errors import CapacityError, CleanupError, ProviderUnavailableError
from gpuforge.models.cluster import ClusterState
from gpuforge.provision.create import create_cluster
from gpuforge.provision.teardown import delete_cluster
from gpuforge.state.views import find_cluster


class Died(BaseException):
    """The client ends here, as by kill -9."""


@pytest.mark.parametrize("applied", [False, True])
def test_an_intent_nobody_heard_back_from_is_redriven_before_it_is_given_back(context, cloud, make, applied):
    cloud.plan_fault("create", Died(), applied=applied)
    with pytest.raises(Died):
        create_cluster(context, make.plan(), labels={})

    delete_cluster(context, find_cluster(context.journal, "train"))

    assert len(cloud.vms) == 1
    assert cloud.living() == []
    assert find_cluster(context.journal, "train") is None
    assert [call[0] for call in cloud.calls].count("create") == 2


def test_a_cloud_that_does_not_answer_the_redrive_leaves_the_intent_open(context, cloud, make):
    cloud.plan_fault("create", Died())
    with pytest.raises(Died):
        create_cluster(context, make.plan(), labels={})
    cloud.plan_fault("create", ProviderUnavailableError("503"), times=1000)

    with pytest.raises(CleanupError, match="may still cost money") as caught:
        delete_cluster(context, find_cluster(context.journal, "train"))

    assert "not settled: 503" in caught.value.details
    assert find_cluster(context.journal, "train").state is ClusterState.CREATING


def test_a_refused_redrive_whose_machine_cannot_be_deleted_lists_it(context, cloud, make):
    cloud.plan_fault("create", Died(), applied=True)
    with pytest.raises(Died):
        create_cluster(context, make.plan(), labels={})
    cloud.plan_fault("create", CapacityError("no stock"))
    cloud.undeletable = {cloud.vms[0].ref.name}

    with pytest.raises(CleanupError) as caught:
        delete_cluster(context, find_cluster(context.journal, "train"))

    assert [leftover.name for leftover in caught.value.leftovers] == [cloud.vms[0].ref.name]
