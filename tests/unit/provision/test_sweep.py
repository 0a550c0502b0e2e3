"""The sweep by owner label: it reports what the journal does not know, and deletes almost nothing."""

from __future__ import annotations

import json

import pytest

from gpuforge.errors import CredentialsError, PermissionDeniedError, ProviderUnavailableError
from gpuforge.models.instance import InstanceRef, InstanceState
from gpuforge.provision.create import create_cluster
from gpuforge.provision.reconcile import collect
from gpuforge.provision.teardown import delete_cluster
from gpuforge.state.journal import RowKind


@pytest.fixture
def stray(cloud, make, manual_clock):
    """Puts a machine into the cloud that no journal here knows, eleven minutes ago."""

    def put(name="gf-aaaaaaaaaa-0-1", *, age=660, deadline_in=3600.0, **labels):
        ref = InstanceRef(
            provider="fake", region="sim-a", zone="sim-a-1", name=name, instance_id=f"id-{name}"
        )
        now = manual_clock.now()
        from datetime import timedelta  # noqa: PLC0415 - only here

        vm = make.vm(
            ref=ref,
            body={"type": "sim-l4", "labels": {"gf-owner": make.owner, "gf-journal": "another", **labels}},
            created=now - timedelta(seconds=age),
            deadline=None if deadline_in is None else now + timedelta(seconds=deadline_in),
            state=InstanceState.RUNNING,
        )
        cloud.vms.append(vm)
        return vm

    return put


def test_a_machine_of_another_laptop_is_reported_with_its_deadline_and_left_alone(context, cloud, stray):
    vm = stray()

    report = collect(context)

    (seen,) = report.strays
    assert seen.instance.ref == vm.ref
    assert seen.deadline == vm.deadline
    assert not seen.is_ours
    assert not seen.is_deleted
    assert cloud.living() == [vm]


def test_a_machine_younger_than_the_horizon_is_not_judged(context, cloud, stray):
    stray(age=599)

    assert collect(context).strays == ()


def test_a_machine_named_by_id_is_deleted_on_the_record(context, cloud, stray):
    vm = stray(age=5)

    report = collect(context, delete_ids=[vm.ref.instance_id, "no-such-id"])

    assert report.strays[0].is_deleted
    assert report.unknown_ids == ("no-such-id",)
    assert cloud.living() == []
    kinds = [row.kind for row in context.journal.rows() if row.node == vm.ref.name]
    assert kinds == [RowKind.DELETE_INTENT, RowKind.GONE]


def test_a_machine_past_its_deadline_is_deleted(context, cloud, stray):
    vm = stray(deadline_in=None, **{"gf-deadline": "1000"})

    report = collect(context)

    assert report.strays[0].is_deleted
    assert vm not in cloud.living()


@pytest.mark.parametrize("text", ["", "soon", "9" * 400, "-1e9"])
def test_a_deadline_label_that_makes_no_sense_is_no_deadline(context, cloud, stray, text):
    stray(deadline_in=None, **{"gf-deadline": text})

    (seen,) = collect(context).strays

    assert seen.deadline is None
    assert not seen.is_deleted


def test_what_another_owner_claims_is_never_touched(context, cloud, stray):
    vm = stray(**{"gf-owner": "mallory"})
    real_list = cloud.list
    cloud.list = lambda selector: _with(real_list(selector), vm.show())

    report = collect(context, delete_ids=[vm.ref.instance_id])

    assert report.strays == ()
    assert report.unknown_ids == (vm.ref.instance_id,)
    assert vm in cloud.living()


def _with(listing, instance):
    from dataclasses import replace  # noqa: PLC0415 - only here

    return replace(listing, instances=(*listing.instances, instance))


def test_a_machine_of_a_restored_journal_is_reported_as_ours(context, cloud, stray):
    stray(**{"gf-journal": context.journal.journal_id, "gf-intent": "99-abcdef123456"})

    (seen,) = collect(context).strays

    assert seen.is_ours
    assert not seen.is_deleted


def test_a_request_that_landed_after_its_intent_was_closed_is_removed(context, cloud, make):
    cluster = create_cluster(context, make.plan(), labels={})
    delete_cluster(context, cluster)
    prepared = next(call[1] for call in cloud.calls if call[0] == "create")
    cloud.tokens.clear()  # the cloud forgot the token, and the straggler lands
    cloud._apply(prepared)

    report = collect(context)

    assert report.strays[0].is_deleted
    assert cloud.living() == []


def test_another_incarnation_of_a_known_name_is_not_taken_for_the_known_one(context, cloud, make, stray):
    cluster = create_cluster(context, make.plan(), labels={})
    twin = stray(cluster.head.ref.name)

    (seen,) = collect(context).strays

    assert seen.instance.ref.instance_id == twin.ref.instance_id
    assert len(cloud.living()) == 2


def test_a_stray_that_cannot_be_deleted_is_a_leftover(context, cloud, stray):
    vm = stray()
    cloud.plan_fault("delete", PermissionDeniedError("not allowed"))

    report = collect(context, delete_ids=[vm.ref.instance_id])

    assert report.leftovers[0].reason == "not allowed"
    assert not report.strays[0].is_deleted


def test_a_stray_that_does_not_go_is_a_leftover_without_end(context, cloud, stray):
    vm = stray(deadline_in=None)
    cloud.undeletable = {vm.ref.name}

    report = collect(context, delete_ids=[vm.ref.instance_id])

    assert report.leftovers[0].until == ""
    assert "still there" in report.leftovers[0].reason


def test_an_incomplete_sweep_says_so(context, cloud):
    cloud.complete = False

    report = collect(context)

    assert not report.complete
    assert report.warnings == ("zone-z did not answer",)


def test_a_cloud_that_does_not_answer_makes_the_sweep_incomplete(context, cloud):
    cloud.plan_fault("list", ProviderUnavailableError("503"), times=1000)

    report = collect(context, delete_ids=["7"])

    assert not report.complete
    assert report.unknown_ids == ("7",)


def test_a_cloud_that_lets_nobody_look_is_an_error(context, cloud):
    cloud.plan_fault("list", CredentialsError("none"))

    with pytest.raises(CredentialsError):
        collect(context)


def test_the_journal_names_who_deleted(context, cloud, stray):
    vm = stray()
    collect(context, delete_ids=[vm.ref.instance_id])

    lease = [row for row in context.journal.rows() if row.kind is RowKind.LEASE][-1]

    assert lease.body["verb"] == "gc"
    assert "@" in lease.body["who"]
    assert json.dumps(dict(lease.body))
