"""Creating a cluster: the rows it writes, failover by error kinds, and that nothing half-made is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gpuforge.errors import (
    AuthError,
    CapacityError,
    CleanupError,
    ConnectError,
    CredentialsError,
    HostKeyError,
    InvalidRequestError,
    PermissionDeniedError,
    PolicyError,
    ProviderError,
    ProviderUnavailableError,
    ProvisionError,
    QuotaError,
    RateLimitError,
    StateError,
)
from gpuforge.models.cluster import ClusterState
from gpuforge.models.ids import instance_name, request_token
from gpuforge.models.instance import InstanceState
from gpuforge.provision.create import create_cluster
from gpuforge.state.journal import RowKind
from gpuforge.state.views import clusters, find_cluster, open_intents, reservations


def kinds(journal):
    return [row.kind.value for row in journal.rows()][1:]


def test_a_cluster_is_ready_with_its_key_pinned_by_instance_id(context, cloud, make, paths, steps):
    cluster = create_cluster(context, make.plan(nodes=2), labels={"team": "vision"})

    assert cluster.state is ClusterState.READY
    assert [node.rank for node in cluster.nodes] == [0, 1]
    pins = (paths.cluster("train") / "known_hosts").read_text().splitlines()
    assert pins == [f"fake.{node.ref.instance_id} {node.host_key}" for node in cluster.nodes]
    assert cluster.ranks_per_node == 2  # four GPUs, capped by the host
    assert cluster.disk_gib == 60  # what the image needs
    assert find_cluster(context.journal, "train") == cluster
    assert any(step.done and step.key == "ssh" for step in steps)


def test_the_intent_and_its_reservation_are_durable_before_the_request_leaves(context, cloud, make):
    seen = []
    cloud.plan_fault("create", lambda: seen.extend(kinds(context.journal)))

    create_cluster(context, make.plan(), labels={})

    assert seen == ["LEASE", "INTENT", "RESERVE"]
    assert kinds(context.journal) == ["LEASE", "INTENT", "RESERVE", "ACK", "READY"]


def test_names_token_labels_and_deadline_are_those_of_the_protocol(context, cloud, make, manual_clock):
    cluster = create_cluster(context, make.plan(), labels={"team": "vision", "gf-owner": "mallory"})

    (vm,) = cloud.vms
    intent = next(row for row in context.journal.rows() if row.kind is RowKind.INTENT)
    name = instance_name(context.journal.journal_id, cluster.uuid, rank=0, attempt=1)
    assert vm.ref.name == name
    prepared = next(call[1] for call in cloud.calls if call[0] == "create")
    assert prepared.token == request_token(name, prepared.body)
    assert vm.body["labels"] == {
        "team": "vision",
        "gf-owner": context.owner,
        "gf-journal": context.journal.journal_id,
        "gf-cluster": "train",
        "gf-intent": f"{intent.seq}-{intent.prev[:12]}",
        "gf-epoch": str(intent.epoch),
        "gf-deadline": str(int(vm.deadline.timestamp())),
    }
    assert vm.deadline == cluster.deadline


def test_the_deadline_is_computed_from_the_clouds_own_time(context, cloud, make, manual_clock):
    cloud.skew = 40

    cluster = create_cluster(context, make.plan(), labels={})

    assert cluster.deadline - manual_clock.now() > timedelta(hours=6)


@pytest.mark.parametrize("skew", [61, -3600])
def test_a_clock_far_from_the_clouds_is_refused_before_anything_is_written(context, cloud, make, skew):
    cloud.skew = skew

    with pytest.raises(PolicyError, match="this computer's clock is"):
        create_cluster(context, make.plan(), labels={})

    assert cloud.vms == []
    assert kinds(context.journal) == ["LEASE"]


def test_a_stock_out_moves_to_the_next_zone_under_a_new_name_and_is_remembered(context, cloud, make, paths):
    cloud.sold_out = {"sim-a-1"}

    cluster = create_cluster(context, make.plan(), labels={})

    assert cluster.offering.zone == "sim-a-2"
    assert cluster.attempt == 2
    assert cluster.head.ref.name.endswith("-0-2")
    assert "fake/sim-a-1/sim-l4/on_demand" in paths.stockouts.read_text()
    assert kinds(context.journal) == [
        "LEASE", "INTENT", "RESERVE", "FAILED", "RELEASE", "INTENT", "RESERVE", "ACK", "READY",
    ]  # fmt: skip
    assert len(reservations(context.journal)) == 1


def test_a_stock_out_told_by_the_operation_is_one_too(context, cloud, make):
    cloud.plan_fault("wait", CapacityError("no stock"))

    cluster = create_cluster(context, make.plan(), labels={})

    assert cluster.offering.zone == "sim-a-2"
    assert [vm.ref.zone for vm in cloud.living()] == ["sim-a-2"]


def test_a_full_quota_skips_the_whole_region(context, cloud, make):
    cloud.plan_fault("create", QuotaError("16 of 16 GPUs used"))

    cluster = create_cluster(context, make.plan(), labels={})

    assert cluster.offering.zone == "sim-b-1"


def test_no_capacity_anywhere_names_every_place_with_its_reason(context, cloud, make):
    cloud.sold_out = {"sim-a-1", "sim-a-2"}

    with pytest.raises(ProvisionError, match="nobody sells L4:4 on demand in sim-a now") as caught:
        create_cluster(context, make.plan(zones=("sim-a-1", "sim-a-2"), excluded=("sim-c-1",)), labels={})

    assert [attempt.place for attempt in caught.value.attempts] == ["sim-a-1", "sim-a-2"]
    assert all(attempt.reason.startswith("out of stock at ") for attempt in caught.value.attempts)
    assert "--infra fake/sim-c" in caught.value.resolution
    assert clusters(context.journal) == ()


@pytest.mark.parametrize("kind", [CredentialsError, PermissionDeniedError, InvalidRequestError])
def test_what_the_user_must_fix_is_never_tried_in_the_next_zone(context, cloud, make, kind):
    cloud.plan_fault("create", kind("no"))

    with pytest.raises(kind):
        create_cluster(context, make.plan(), labels={})

    assert [call[0] for call in cloud.calls].count("create") == 1
    assert clusters(context.journal) == ()


@pytest.mark.parametrize("kind", [ProviderUnavailableError, RateLimitError])
@pytest.mark.parametrize("applied", [False, True])
def test_a_lost_answer_repeats_the_same_call_and_makes_one_machine(context, cloud, make, kind, applied):
    cloud.plan_fault("create", kind("try later"), applied=applied, times=3)

    create_cluster(context, make.plan(), labels={})

    sent = [call[1] for call in cloud.calls if call[0] == "create"]
    assert len(sent) == 4
    assert len({(prepared.token, prepared.body) for prepared in sent}) == 1
    assert len(cloud.vms) == 1


def test_a_cloud_that_never_answers_leaves_the_intent_open_and_buys_no_second_machine(context, cloud, make):
    cloud.plan_fault("create", ProviderUnavailableError("503"), applied=True, times=1000)

    with pytest.raises(ProviderUnavailableError) as caught:
        create_cluster(context, make.plan(), labels={})

    assert "gpuforge gc" in caught.value.resolution
    assert len(cloud.vms) == 1
    assert [attempt.cluster.state for attempt in open_intents(context.journal)] == [ClusterState.CREATING]


def test_a_poll_that_fails_is_repeated_without_a_second_insert(context, cloud, make):
    cloud.plan_fault("wait", ProviderUnavailableError("503"), times=2)
    cloud.plan_fault("boot_report", RateLimitError("429"), times=2)

    create_cluster(context, make.plan(), labels={})

    assert [call[0] for call in cloud.calls].count("create") == 1
    assert len(cloud.vms) == 1


def test_an_operation_that_does_not_end_in_time_is_given_back(context, cloud, make):
    cloud.plan_fault("wait", ProviderUnavailableError("still pending"), times=81)

    with pytest.raises(ProvisionError, match="waited for the cloud's operation") as caught:
        create_cluster(context, make.plan(), labels={})

    assert "kernel: all is well" in caught.value.details
    assert cloud.living() == []
    assert clusters(context.journal) == ()


def test_a_failed_operation_in_one_place_is_tried_in_the_next(context, cloud, make):
    cloud.plan_fault("wait", ProviderError("internal error"), applied=True)

    cluster = create_cluster(context, make.plan(), labels={})

    assert cluster.offering.zone == "sim-a-2"
    assert len(cloud.living()) == 1


def test_a_machine_without_the_deadline_it_was_asked_for_is_given_back(context, cloud, make):
    cloud.grants_deadline = False

    with pytest.raises(PolicyError, match="does not show the deadline"):
        create_cluster(context, make.plan(), labels={})

    assert cloud.living() == []


def test_a_machine_preempted_while_it_booted_is_replaced_elsewhere(context, cloud, make):
    def preempt():
        cloud.vms[0].state = InstanceState.STOPPED
        cloud.vms[0].reason = "preempted"

    cloud.plan_fault("boot_report", preempt)

    cluster = create_cluster(context, make.plan(), labels={})

    assert cluster.offering.zone == "sim-a-2"
    assert cloud.vms[0].state is InstanceState.GONE


def test_a_node_that_never_publishes_its_key_ends_with_the_consoles_tail(context, cloud, make, steps):
    cloud.boot_polls = 10**9
    cloud.console = "cloud-init: failed\n"

    with pytest.raises(ProvisionError, match="waited for the host key") as caught:
        create_cluster(context, make.plan(nodes=2), labels={})

    assert "cloud-init: failed" in caught.value.details
    assert any("waiting for the host key" in step.text and step.deadline for step in steps)
    assert cloud.living() == []


def test_a_first_login_is_tried_again_while_the_port_or_the_key_is_not_there(context, make):
    answers = iter([ConnectError("refused"), AuthError("no key yet"), None])

    def log_in(_endpoint):
        if (answer := next(answers)) is not None:
            raise answer

    cluster = create_cluster(replace(context, login=log_in), make.plan(), labels={})

    assert cluster.state is ClusterState.READY


@pytest.mark.parametrize(
    ("error", "step"), [(ConnectError("refused"), "the SSH port"), (AuthError("no"), "the first login")]
)
def test_a_login_that_never_works_says_which_step_it_was(context, cloud, make, error, step):
    def log_in(_endpoint):
        raise error

    with pytest.raises(ProvisionError, match=f"waited for {step}"):
        create_cluster(replace(context, login=log_in), make.plan(), labels={})

    assert cloud.living() == []


def test_a_wrong_host_key_is_never_tried_again(context, cloud, make):
    tries = []

    def log_in(endpoint):
        tries.append(endpoint)
        raise HostKeyError("someone else answers")

    with pytest.raises(HostKeyError):
        create_cluster(replace(context, login=log_in), make.plan(), labels={})

    assert len(tries) == 1
    assert cloud.living() == []


def test_a_half_made_gang_that_cannot_be_deleted_is_reported_and_stays_open(context, cloud, make):
    cloud.plan_fault("wait", CapacityError("second node missing"), applied=True)
    cloud.plan_fault("delete", PermissionDeniedError("compute.instances.delete is missing"), times=3)

    with pytest.raises(CleanupError) as caught:
        create_cluster(context, make.plan(nodes=2), labels={})

    assert len(caught.value.leftovers) == 2
    assert "compute.instances.delete" in caught.value.leftovers[0].reason
    assert len(open_intents(context.journal)) == 1
    assert [call[0] for call in cloud.calls].count("create") == 1


def test_a_refused_create_whose_machine_shows_up_after_all_is_given_back(context, cloud, make):
    cloud.plan_fault("create", CapacityError("no stock"), applied=True)

    cluster = create_cluster(context, make.plan(), labels={})

    assert [vm.ref.name for vm in cloud.living()] == [cluster.head.ref.name]
    assert cluster.attempt == 2


def test_a_taken_name_is_refused_and_says_what_to_do(context, make):
    create_cluster(context, make.plan(), labels={})

    with pytest.raises(PolicyError, match="'train' is taken") as caught:
        create_cluster(context, make.plan(), labels={})

    assert "gpuforge down train" in caught.value.resolution


def test_a_journal_that_lost_rows_creates_nothing(context, cloud, make, paths):
    paths.journal_head.write_text('{"seq": 99, "hash": "x"}')

    with pytest.raises(StateError, match="lost rows"):
        create_cluster(context, make.plan(), labels={})

    assert cloud.calls == []


def test_a_full_disk_stops_before_the_request_leaves(context, cloud, make):
    pages = context.journal._connection.execute("PRAGMA page_count").fetchone()[0]
    context.journal._connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill():
        for number in range(50):  # until the last page is full
            create_cluster(context, make.plan(name=f"train-{number}"), labels={})

    with pytest.raises(StateError, match="cannot be used"):
        fill()

    made = {vm.ref.name for vm in cloud.vms}
    intended = {
        name
        for row in context.journal.rows()
        if row.kind is RowKind.INTENT
        for name in row.body["prepared"]["names"]
    }
    assert made <= intended


def test_a_client_whose_cluster_was_taken_over_sends_nothing(context, cloud, make):
    uuid = "u" * 32

    def take_over(count):
        return bytes.fromhex("ab" * count)

    context = replace(context, entropy=take_over)
    uuid = take_over(16).hex()
    real_list = cloud.list

    def list_and_fence(selector):
        context.journal.lease(uuid, {"verb": "gc"})
        return real_list(selector)

    cloud.list = list_and_fence

    with pytest.raises(StateError, match="took this cluster over"):
        create_cluster(context, make.plan(), labels={})

    assert cloud.vms == []
