"""Readiness always has a word for what it waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuforge.errors import (
    HostKeyError,
    NotFoundError,
    ProviderError,
    ProviderUnavailableError,
    ProvisionError,
)
from gpuforge.models.instance import BootReport, HostKey, InstanceState, Route
from gpuforge.provision.context import Limits
from gpuforge.provision.create import create_cluster
from gpuforge.provision.wait import Waiting, assess, wait_ready, wait_running
from gpuforge.transport.keys import ensure_key

ROUTE = Route(host="127.0.0.9", port=22, user="ubuntu")


@pytest.fixture
def instances(context, cloud, make, paths):
    """Two running machines whose host keys are not there yet."""
    create_cluster(context, make.plan(nodes=2), labels={})
    for vm in cloud.vms:
        vm.polls = 0
    ensure_key(paths.cluster("train"))
    return tuple(vm.show() for vm in cloud.vms)


def report(instance, **facts):
    return BootReport(instance=instance, console_tail="", **{"host_keys": None, "route": None, **facts})


@pytest.mark.parametrize(
    ("state", "keys", "route", "waiting"),
    [
        (InstanceState.PENDING, None, None, Waiting.BOOT),
        (InstanceState.RUNNING, None, ROUTE, Waiting.HOST_KEY),
        (InstanceState.RUNNING, (), None, Waiting.ADDRESS),
        (InstanceState.RUNNING, (), ROUTE, None),
    ],
)
def test_each_stage_of_booting_has_a_name(instances, state, keys, route, waiting):
    instance = replace(instances[0], state=state)

    assert assess(report(instance, host_keys=keys, route=route)) is waiting


@pytest.mark.parametrize(
    "state", [InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.DELETING, InstanceState.GONE]
)
def test_a_machine_that_went_away_is_not_waited_for(instances, state):
    instance = replace(instances[0], state=state, reason="preempted")

    with pytest.raises(ProviderError, match=f"went to {state} while it booted: preempted"):
        assess(report(instance))


def test_the_nodes_come_in_rank_order_with_the_smallest_cap(context, cloud, instances):
    ready = wait_ready(context, "train", instances)

    assert [node.rank for node in ready.nodes] == [0, 1]
    assert ready.capped_ranks == 2
    assert [node.address for node in ready.nodes] == ["127.0.0.9", "127.0.0.9"]


def test_progress_says_what_is_waited_for_and_until_when(context, instances, steps):
    steps.clear()

    wait_ready(context, "train", instances)

    first = steps[0]
    assert first.text.startswith(f"{instances[0].ref.name}  waiting for the host key")
    assert (first.current, first.total) == (0, 2)
    assert first.deadline is not None
    assert steps[-1].text == "2 host keys pinned"


def test_a_machine_that_is_not_found_any_more_went_away(context, cloud, instances):
    cloud.plan_fault("boot_report", NotFoundError("no such instance"))

    with pytest.raises(ProviderError, match="went away while it booted"):
        wait_ready(context, "train", instances)


@pytest.mark.parametrize("kinds", [(), ("ssh-rsa", "ecdsa-sha2-nistp256")])
def test_only_an_ed25519_key_is_pinned(context, cloud, instances, kinds):
    real = cloud.boot_report
    keys = tuple(HostKey(kind=kind, blob="AAAA") for kind in kinds)
    cloud.boot_report = lambda ref: replace(real(ref), host_keys=keys, route=ROUTE)

    with pytest.raises(ProviderError, match="published no ssh-ed25519 host key") as caught:
        wait_ready(context, "train", instances)

    assert (", ".join(kinds) or "none") in caught.value.details


def test_a_console_that_cannot_be_read_does_not_hide_the_time_out(context, cloud, instances):
    cloud.plan_fault("boot_report", ProviderUnavailableError("503"), times=10_000)

    with pytest.raises(ProvisionError, match="waited for the machine to boot") as caught:
        wait_ready(context, "train", instances)

    assert caught.value.details == "waited 180 s"
    assert caught.value.attempts[0].place == "sim-a-1"


def test_the_operation_is_waited_for_under_its_own_limit(context, cloud, instances, manual_clock):
    cloud.plan_fault("wait", ProviderUnavailableError("503"), times=10_000)
    patient = replace(context, limits=Limits(operation=30))
    start = manual_clock.monotonic()

    with pytest.raises(ProvisionError, match="waited for the cloud's operation"):
        wait_running(patient, [instance.ref for instance in instances])

    assert 30 <= manual_clock.monotonic() - start < 40


def test_a_wrong_host_key_of_one_node_is_the_error_of_all(context, instances):
    def log_in(endpoint):
        if endpoint.name == instances[1].ref.name:
            raise HostKeyError("someone else answers")

    with pytest.raises(HostKeyError, match="someone else"):
        wait_ready(replace(context, login=log_in), "train", instances)


def test_a_slow_node_is_waited_for_without_asking_the_ready_one_again(context, cloud, instances, steps):
    cloud.vms[1].polls = -5
    steps.clear()

    ready = wait_ready(context, "train", instances)

    assert len(ready.nodes) == 2
    assert cloud.vms[0].polls == 3
    assert any(step.text.startswith(instances[1].ref.name) and "1 of 2 nodes" in step.text for step in steps)


def test_a_laptop_that_slept_while_it_waited_goes_on_waiting(context, cloud, instances, manual_clock):
    def sleep_for_an_hour():
        manual_clock.jump(3600)
        raise ProviderUnavailableError("the connection went")

    cloud.plan_fault("wait", sleep_for_an_hour)

    found = wait_running(context, [instance.ref for instance in instances])

    assert [instance.state for instance in found] == [InstanceState.RUNNING] * 2
