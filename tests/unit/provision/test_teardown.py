"""Teardown: by id, confirmed by the cloud, past every failure, and honest about what is left."""

from __future__ import annotations

import pytest

from gpuforge.errors import (
    CleanupError,
    PermissionDeniedError,
    ProviderUnavailableError,
    StateError,
)
from gpuforge.models.cluster import ClusterState
from gpuforge.models.instance import Disk, InstanceState
from gpuforge.provision.create import create_cluster
from gpuforge.provision.teardown import delete_cluster
from gpuforge.state.journal import RowKind
from gpuforge.state.locks import cluster_lock
from gpuforge.state.views import clusters, find_cluster, reservations


@pytest.fixture
def cluster(context, make):
    return create_cluster(context, make.plan(nodes=3), labels={})


def test_every_machine_is_deleted_by_id_and_written_down_as_gone(context, cloud, cluster, steps):
    delete_cluster(context, cluster)

    (refs,) = [call[1] for call in cloud.calls if call[0] == "delete"]
    assert [ref.instance_id for ref in refs] == [node.ref.instance_id for node in cluster.nodes]
    assert cloud.living() == []
    tail = [row.kind.value for row in context.journal.rows()][-6:]
    assert tail == ["LEASE", "DELETE_INTENT", "GONE", "GONE", "GONE", "RELEASE"]
    assert find_cluster(context.journal, "train") is None
    assert reservations(context.journal) == ()
    (gone,) = clusters(context.journal, include_gone=True)
    assert gone.state is ClusterState.GONE
    assert steps[-1].done


def test_the_intent_to_delete_is_durable_before_the_request_leaves(context, cloud, cluster):
    seen = []
    cloud.plan_fault("delete", lambda: seen.append(context.journal.rows()[-1].kind))

    delete_cluster(context, cluster)

    assert seen == [RowKind.DELETE_INTENT]


def test_the_private_key_goes_and_other_files_of_the_cluster_stay(context, cluster, paths):
    folder = paths.cluster("train")
    (folder / "jobs.json").write_text("{}")

    delete_cluster(context, cluster)

    assert [path.name for path in folder.iterdir()] == ["jobs.json"]


def test_an_empty_folder_of_the_cluster_goes_too(context, cluster, paths):
    delete_cluster(context, cluster)

    assert not paths.cluster("train").exists()


def test_a_second_time_does_nothing(context, cloud, cluster):
    delete_cluster(context, cluster)
    before = len(cloud.calls)

    delete_cluster(context, cluster)

    assert len(cloud.calls) == before


def test_one_machine_that_stays_does_not_spare_the_others(context, cloud, cluster):
    stuck = cluster.nodes[1].ref.name
    cloud.undeletable = {stuck}

    with pytest.raises(CleanupError) as caught:
        delete_cluster(context, cluster)

    (leftover,) = caught.value.leftovers
    assert leftover.name == stuck
    assert leftover.until.startswith("2026-01-01T06:00")
    assert [vm.ref.name for vm in cloud.living()] == [stuck]
    assert len(reservations(context.journal)) == 1
    gone = {row.node for row in context.journal.rows() if row.kind is RowKind.GONE}
    assert gone == {cluster.nodes[0].ref.name, cluster.nodes[2].ref.name}


def test_a_later_call_finishes_what_was_left(context, cloud, cluster):
    cloud.undeletable = {cluster.nodes[1].ref.name}
    with pytest.raises(CleanupError):
        delete_cluster(context, cluster)
    cloud.undeletable = set()

    delete_cluster(context, cluster)

    assert find_cluster(context.journal, "train") is None
    asked = [call[1] for call in cloud.calls if call[0] == "delete"][-1]
    assert [ref.name for ref in asked] == [cluster.nodes[1].ref.name]


def test_a_refusal_names_its_reason_for_each_machine(context, cloud, cluster):
    refusal = PermissionDeniedError("permission compute.instances.delete is missing")
    cloud.plan_fault("delete", refusal, times=4)

    with pytest.raises(CleanupError) as caught:
        delete_cluster(context, cluster)

    assert [leftover.reason for leftover in caught.value.leftovers] == [str(refusal)] * 3


def test_a_lost_answer_to_the_delete_is_asked_again(context, cloud, cluster):
    cloud.plan_fault("delete", ProviderUnavailableError("503"), applied=True, times=2)

    delete_cluster(context, cluster)

    assert cloud.living() == []


def test_a_disk_left_behind_keeps_the_reservation_open(context, cloud, cluster):
    vm = cloud.vms[0]
    cloud.disks = [
        Disk(
            provider="fake",
            zone="sim-a-1",
            name="disk-1",
            disk_id="7",
            size_gib=50,
            labels=vm.body["labels"],
        ),
        Disk(provider="fake", zone="sim-a-1", name="of another", disk_id="8", size_gib=50, labels={}),
    ]

    with pytest.raises(CleanupError) as caught:
        delete_cluster(context, cluster)

    assert [(x.kind, x.name) for x in caught.value.leftovers] == [("disk", "disk-1")]
    assert find_cluster(context.journal, "train").state is ClusterState.DELETING


def test_disks_nobody_could_look_for_are_not_called_gone(context, cloud, cluster):
    cloud.complete = False

    with pytest.raises(CleanupError, match="may still cost money") as caught:
        delete_cluster(context, cluster)

    assert "zone-z did not answer" in caught.value.details


def test_a_list_that_fails_is_a_leftover_not_a_success(context, cloud, cluster):
    cloud.plan_fault("list", PermissionDeniedError("list is missing"))

    with pytest.raises(CleanupError) as caught:
        delete_cluster(context, cluster)

    assert "list is missing" in caught.value.details


def test_a_machine_that_ended_by_itself_is_gone_by_the_clouds_word(context, cloud, cluster):
    cloud.vms[0].state = InstanceState.GONE

    delete_cluster(context, cluster)

    assert find_cluster(context.journal, "train") is None


def test_two_commands_on_one_cluster_at_once_the_loser_names_the_holder(
    context, cluster, paths, manual_clock
):
    with (
        cluster_lock(paths, "train", clock=manual_clock),
        pytest.raises(StateError, match="another command is working on the cluster 'train'") as caught,
    ):
        delete_cluster(context, cluster)

    assert "waited 10 s" in caught.value.details
    assert "process " in caught.value.details


def test_an_old_cluster_of_the_same_name_does_not_take_the_new_ones_key(context, cluster, make, paths):
    delete_cluster(context, cluster)
    create_cluster(context, make.plan(), labels={})

    delete_cluster(context, cluster)

    assert (paths.cluster("train") / "id_ed25519").exists()
    assert find_cluster(context.journal, "train").state is ClusterState.READY


def test_a_cluster_whose_last_disk_went_is_closed_without_asking_for_machines_again(context, cloud, cluster):
    labels = cloud.vms[0].body["labels"]
    disk = Disk(provider="fake", zone="sim-a-1", name="d", disk_id="7", size_gib=50, labels=labels)
    cloud.disks = [disk]
    with pytest.raises(CleanupError):
        delete_cluster(context, cluster)
    cloud.disks = []

    delete_cluster(context, cluster)

    assert [call[0] for call in cloud.calls].count("delete") == 1
    assert find_cluster(context.journal, "train") is None


def test_a_machine_the_cloud_never_heard_of_is_gone(context, cloud, cluster):
    cloud.vms.clear()

    delete_cluster(context, cluster)

    assert find_cluster(context.journal, "train") is None
