"""``gc`` and refresh: open intents are re-driven to their end, and the cloud's word is written down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuforge.errors import (
    CapacityError,
    CleanupError,
    ConflictError,
    CredentialsError,
    InvalidRequestError,
    PermissionDeniedError,
    ProviderUnavailableError,
    StateError,
)
from gpuforge.models.cluster import ClusterState
from gpuforge.models.instance import InstanceState
from gpuforge.provision.create import create_cluster
from gpuforge.provision.reconcile import collect, needs_collect, refresh
from gpuforge.provision.teardown import delete_cluster
from gpuforge.state.journal import RowKind
from gpuforge.state.locks import cluster_lock
from gpuforge.state.views import clusters, find_cluster, open_intents


class Died(BaseException):
    """The client ends here, as by kill -9."""


def die():
    raise Died


def crash(context, make, cloud, *, at, **plan):
    """Run a create whose client dies inside the provider call ``at``."""
    cloud.plan_fault(at, die)
    with pytest.raises(Died):
        create_cluster(context, make.plan(**plan), labels={})


def test_an_intent_that_was_never_sent_is_redriven_and_given_back(context, cloud, make, paths):
    crash(context, make, cloud, at="create")
    assert [cluster.name for cluster in needs_collect(context.journal, paths)] == ["train"]

    report = collect(context)

    assert [done.cluster for done in report.finished] == ["train"]
    assert cloud.living() == []
    assert clusters(context.journal) == ()
    assert needs_collect(context.journal, paths) == ()
    sent = [call[1] for call in cloud.calls if call[0] == "create"]
    assert len({(prepared.token, prepared.body, prepared.names) for prepared in sent}) == 1


def test_a_create_that_was_applied_unheard_is_found_by_its_token(context, cloud, make):
    cloud.plan_fault("create", Died(), applied=True)
    with pytest.raises(Died):
        create_cluster(context, make.plan(nodes=2), labels={})
    assert len(cloud.living()) == 2

    collect(context)

    assert len(cloud.vms) == 2
    assert cloud.living() == []


def test_a_request_that_lands_after_recovery_makes_nothing_new(context, cloud, make):
    def hold_back():
        cloud.late.append(cloud.calls[-1][1])
        raise Died

    cloud.plan_fault("create", hold_back)
    with pytest.raises(Died):
        create_cluster(context, make.plan(), labels={})
    collect(context)

    cloud.deliver()

    assert cloud.living() == []
    assert len(cloud.vms) == 1


@pytest.mark.parametrize("at", ["wait", "boot_report"])
def test_an_acknowledged_create_is_acted_on_by_id(context, cloud, make, at):
    crash(context, make, cloud, at=at)

    collect(context)

    assert [call[0] for call in cloud.calls].count("create") == 1
    (refs,) = [call[1] for call in cloud.calls if call[0] == "delete"]
    assert refs[0].instance_id == cloud.vms[0].ref.instance_id
    assert cloud.living() == []


def test_a_delete_that_was_interrupted_is_finished(context, cloud, make):
    cluster = create_cluster(context, make.plan(nodes=2), labels={})
    cloud.plan_fault("delete", die)
    with pytest.raises(Died):
        delete_cluster(context, cluster)
    assert find_cluster(context.journal, "train").state is ClusterState.DELETING

    report = collect(context)

    assert report.finished[0].outcome == "its machines were given back"
    assert cloud.living() == []
    assert clusters(context.journal) == ()


@pytest.mark.parametrize("kind", [CapacityError, InvalidRequestError])
def test_a_redrive_that_is_refused_closes_the_intent_once_nothing_lives(context, cloud, make, kind):
    crash(context, make, cloud, at="create")
    cloud.plan_fault("create", kind("no"))

    report = collect(context)

    assert report.finished[0].outcome == f"nothing of it lives ({kind.code})"
    (failed,) = clusters(context.journal, include_gone=True)
    assert failed.state is ClusterState.FAILED


def test_a_forgotten_token_meets_the_machine_of_our_own_name_and_removes_it(context, cloud, make):
    cloud.plan_fault("create", Died(), applied=True)
    with pytest.raises(Died):
        create_cluster(context, make.plan(), labels={})
    cloud.tokens.clear()

    collect(context)

    assert cloud.living() == []


def test_a_name_taken_by_a_stranger_is_left_alone(context, cloud, make):
    crash(context, make, cloud, at="create")
    prepared = open_intents(context.journal)[0].prepared
    stranger = replace(prepared, token="another", body=prepared.body.replace(b"gf-journal", b"gf-else"))
    cloud._apply(stranger)
    cloud.plan_fault("create", ConflictError("the name is taken"))

    collect(context)

    assert len(cloud.living()) == 1
    assert clusters(context.journal) == ()


def test_an_accepted_create_without_ids_is_waited_for(context, cloud, make):
    cloud.gives_ids = False
    crash(context, make, cloud, at="create")

    collect(context)

    (refs,) = [call[1] for call in cloud.calls if call[0] == "delete"]
    assert refs[0].instance_id == cloud.vms[0].ref.instance_id
    assert cloud.living() == []


def test_a_cloud_that_does_not_answer_leaves_the_intent_open_and_says_so(context, cloud, make):
    crash(context, make, cloud, at="create")
    cloud.plan_fault("create", ProviderUnavailableError("503"), times=1000)

    report = collect(context)

    assert report.finished == ()
    assert "not settled" in report.leftovers[0].reason
    assert len(open_intents(context.journal)) == 1


def test_what_cannot_be_deleted_stays_open_and_is_reported(context, cloud, make):
    crash(context, make, cloud, at="wait")
    cloud.plan_fault("delete", PermissionDeniedError("not allowed"), times=2)

    report = collect(context)

    assert [leftover.reason for leftover in report.leftovers] == ["not allowed"]
    assert len(open_intents(context.journal)) == 1


def test_an_intent_whose_lock_is_held_is_not_a_crash(context, cloud, make, paths, manual_clock):
    crash(context, make, cloud, at="create")

    with cluster_lock(paths, "train", clock=manual_clock):
        assert needs_collect(context.journal, paths) == ()
        report = collect(context)

    assert report.busy == ("train",)
    assert len(open_intents(context.journal)) == 1


def test_the_interrupted_client_is_fenced_when_it_wakes(context, cloud, make):
    """A client stopped before its create may wake after ``gc``: its next row is refused."""
    cloud.plan_fault("create", lambda: collect_beside(context))

    def collect_beside(held):
        # the lock is this process's own; what a lock on another computer would not stop
        held.journal.lease(find_cluster(held.journal, "train").uuid, {"verb": "gc"})

    with pytest.raises(StateError, match="took this cluster over"):
        create_cluster(context, make.plan(), labels={})

    collect(context)
    assert cloud.living() == []


def test_a_cluster_in_use_is_left_alone(context, cloud, make):
    create_cluster(context, make.plan(), labels={})

    report = collect(context)

    assert report.finished == ()
    assert report.strays == ()
    assert len(cloud.living()) == 1
    assert find_cluster(context.journal, "train").state is ClusterState.READY


def test_a_cluster_of_another_provider_is_left_alone(context, cloud, make):
    create_cluster(context, make.plan(), labels={})
    other = replace(context, provider=make.cloud(clock=cloud.clock, name="gcp"))

    assert collect(other).finished == ()
    (status,) = refresh(other, clusters(context.journal))
    assert status.unknown == "it is on fake"


def test_machines_gone_at_their_deadline_are_written_down(context, cloud, make, manual_clock, paths):
    create_cluster(context, make.plan(nodes=2), labels={})
    manual_clock.advance(6 * 3600 + 1)

    (status,) = refresh(context, clusters(context.journal))

    assert status.cluster.state is ClusterState.GONE
    assert status.instances == (None, None)
    assert clusters(context.journal) == ()
    assert not paths.cluster("train").exists()


def test_gc_learns_that_a_cluster_ended_by_itself(context, cloud, make):
    create_cluster(context, make.plan(), labels={})
    cloud.vms[0].state = InstanceState.GONE

    report = collect(context)

    assert report.finished[0].outcome == "it had ended by itself"
    assert clusters(context.journal) == ()


def test_one_node_gone_of_two_is_written_down_once(context, cloud, make):
    cluster = create_cluster(context, make.plan(nodes=2), labels={})
    cloud.vms[1].state = InstanceState.GONE

    (first,) = refresh(context, [cluster])
    rows = len(context.journal.rows())
    (second,) = refresh(context, [first.cluster])

    assert first.cluster.state is ClusterState.READY
    assert first.instances[0] is not None
    assert first.instances[1] is None
    assert second.instances[1] is None
    assert len(context.journal.rows()) == rows


def test_a_machine_missing_from_a_stale_list_is_not_called_gone(context, cloud, make):
    cluster = create_cluster(context, make.plan(), labels={})
    cloud.hides = {cluster.head.ref.name}

    (status,) = refresh(context, [cluster])

    assert status.cluster.state is ClusterState.READY
    assert not any(row.kind is RowKind.GONE for row in context.journal.rows())


def test_an_incomplete_list_says_so_and_decides_nothing(context, cloud, make):
    cluster = create_cluster(context, make.plan(), labels={})
    cloud.vms[0].state = InstanceState.GONE
    cloud.complete = False

    (status,) = refresh(context, [cluster])

    assert status.cluster.state is ClusterState.READY
    assert status.unknown == "zone-z did not answer"


def test_refresh_says_when_the_cloud_does_not_answer(context, cloud, make):
    cluster = create_cluster(context, make.plan(), labels={})
    cloud.plan_fault("list", CredentialsError("no usable credentials"))

    (status,) = refresh(context, [cluster])

    assert status.unknown == "no usable credentials"
    assert status.cluster == cluster


def test_refresh_of_nothing_asks_nothing(context, cloud):
    assert refresh(context, ()) == ()
    assert cloud.calls == []


def test_refresh_leaves_a_cluster_another_command_works_on(context, cloud, make, paths, manual_clock):
    cluster = create_cluster(context, make.plan(), labels={})
    cloud.vms[0].state = InstanceState.GONE

    with cluster_lock(paths, "train", clock=manual_clock):
        (status,) = refresh(context, [cluster])

    assert status.cluster.state is ClusterState.READY
    assert status.instances == (None,)


def test_a_machine_that_outlived_its_deadline_is_given_back_by_gc(context, cloud, make, manual_clock):
    create_cluster(context, make.plan(), labels={})
    cloud.vms[0].deadline = None  # a guest's poweroff may clear it
    cloud.vms[0].state = InstanceState.STOPPED
    manual_clock.advance(6 * 3600 + 151)

    report = collect(context)

    assert report.finished[0].outcome == "its deadline had passed, and it was given back"
    assert cloud.living() == []


def test_a_journal_behind_its_head_is_accepted_once_the_cloud_was_asked(context, cloud, make, paths):
    paths.journal_head.write_text('{"seq": 99, "hash": "x"}')
    assert context.journal.behind

    collect(context)

    assert context.journal.behind == ""
    create_cluster(context, make.plan(), labels={})


def test_a_journal_behind_its_head_stays_so_while_the_list_is_incomplete(context, cloud, paths):
    paths.journal_head.write_text('{"seq": 99, "hash": "x"}')
    cloud.complete = False

    report = collect(context)

    assert not report.complete
    assert context.journal.behind


def test_an_attempt_left_over_by_a_failed_clean_up_is_finished(context, cloud, make):
    cloud.plan_fault("wait", CapacityError("gone"), applied=True)
    cloud.plan_fault("delete", PermissionDeniedError("no"), times=1)
    with pytest.raises(CleanupError):
        create_cluster(context, make.plan(), labels={})

    collect(context)

    assert cloud.living() == []
    assert clusters(context.journal) == ()


def test_everything_listed_gone_still_needs_the_clouds_word_by_id(context, cloud, make):
    """Killed between the refused create and its FAILED row."""
    cloud.plan_fault("create", CapacityError("no stock"))
    real_list = cloud.list
    cloud.list = lambda selector: die() if selector.refs else real_list(selector)
    with pytest.raises(Died):
        create_cluster(context, make.plan(), labels={})
    cloud.list = real_list

    collect(context)

    assert cloud.living() == []
    assert clusters(context.journal) == ()


def test_a_ready_cluster_nobody_can_ask_about_is_reported(context, cloud, make):
    create_cluster(context, make.plan(), labels={})
    cloud.plan_fault("list", PermissionDeniedError("list is missing"))

    report = collect(context)

    assert [leftover.reason for leftover in report.leftovers] == ["not settled: list is missing"]
    assert len(cloud.living()) == 1


def test_an_acknowledged_create_without_ids_is_sent_again_to_learn_them(context, cloud, make):
    cloud.gives_ids = False
    crash(context, make, cloud, at="wait")

    collect(context)

    (refs,) = [call[1] for call in cloud.calls if call[0] == "delete"]
    assert refs[0].instance_id == cloud.vms[0].ref.instance_id
    assert len(cloud.vms) == 1
