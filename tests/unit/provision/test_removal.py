"""Removing what an attempt made when the cloud told no ids, and asking it until it says "gone"."""

from __future__ import annotations

from gpuforge.errors import CapacityError, PermissionDeniedError
from gpuforge.models.instance import InstanceState
from gpuforge.provision.create import create_cluster
from gpuforge.provision.removal import confirm_gone


def test_one_machine_that_stays_does_not_hide_that_the_others_are_gone(context, cloud, make):
    cluster = create_cluster(context, make.plan(nodes=3), labels={})
    refs = [node.ref for node in cluster.nodes]
    cloud.vms[0].state = cloud.vms[2].state = InstanceState.GONE

    gone, waiting = confirm_gone(context, refs, seconds=10)

    assert gone == [refs[0], refs[2]]
    assert list(waiting) == [refs[1]]


def test_nothing_is_gone_at_once(context, cloud):
    assert confirm_gone(context, [], seconds=10) == ([], {})
    assert cloud.calls == []


def test_machines_whose_ids_nobody_told_are_found_by_their_labels(context, cloud, make):
    cloud.gives_ids = False
    cloud.plan_fault("wait", CapacityError("second node missing"), applied=True)

    create_cluster(context, make.plan(nodes=2), labels={})

    refs = next(call[1] for call in cloud.calls if call[0] == "delete")
    assert [ref.instance_id for ref in refs] == [vm.ref.instance_id for vm in cloud.vms[:2]]


def test_a_stranger_under_our_name_is_not_deleted(context, cloud, make):
    cloud.gives_ids = False

    def relabel():
        cloud.vms[0].body["labels"]["gf-journal"] = "another"
        raise CapacityError("half a gang")

    cloud.plan_fault("wait", relabel)

    cluster = create_cluster(context, make.plan(), labels={})

    assert cluster.attempt == 2
    assert cloud.vms[0] in cloud.living()


def test_when_no_list_helps_machines_without_ids_are_deleted_by_their_own_name(context, cloud, make):
    cloud.gives_ids = False
    cloud.plan_fault("wait", lambda: cloud.plan_fault("list", PermissionDeniedError("no list")) or fail())

    def fail():
        raise CapacityError("half a gang")

    create_cluster(context, make.plan(), labels={})

    assert len(cloud.living()) == 1
