"""What ``fake`` does beyond the contract: faults as kinds, stock-outs, left-over disks, metadata."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from gpuforge.errors import (
    CapacityError,
    NotFoundError,
    ProviderError,
    ProviderUnavailableError,
    QuotaError,
    RateLimitError,
    SpecError,
)
from gpuforge.models.instance import CheckStatus, InstanceState, Selector
from gpuforge.models.resources import Accelerator, CapacityType, Need
from gpuforge.providers.fake.provider import FakeProvider
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.state.paths import Paths
from gpuforge.testing.provider_contract import Query


def _wait(provider, clock, accepted, until=InstanceState.RUNNING):
    return provider.wait(accepted.refs, until, clock.now() + timedelta(minutes=5))


def test_a_gpu_model_narrows_the_offerings_and_sizes_do_not(provider):
    found = list(provider.list_offerings(Need(accelerators=(Accelerator("L4", 8),))))
    assert {x.instance_type for x in found} == {"sim-l4", "sim-l4-4x"}
    assert {x.capacity_type for x in found} == {CapacityType.ON_DEMAND}


def test_a_task_without_gpus_is_offered_everything_in_its_region(provider):
    found = list(provider.list_offerings(Need(region="sim-west1", capacity_type=CapacityType.SPOT)))
    assert {"sim-cpu-2", "sim-l4"} <= {x.instance_type for x in found}
    assert {x.region for x in found} == {"sim-west1"}


def test_what_cannot_be_had_is_offered_with_its_reason(provider):
    found = list(provider.list_offerings(Need(instance_type="sim-h100-2x")))
    assert {x.restriction for x in found} == {"not sold on demand"}
    assert {x.price for x in found} == {None}


@pytest.mark.parametrize("word", ["pytorch-2-9-cu129", "pytorch-2-9", "pytorch-2.9"])
def test_an_image_is_found_by_id_family_and_framework(provider, word):
    assert provider.resolve_image(Query(name=word)).id == "pytorch-2-9-cu129"


def test_all_images_can_be_listed(provider):
    assert {"pytorch-2-9-cu129", "common-cpu"} <= {image.id for image in provider.images}


def test_a_retired_family_is_answered_with_the_current_ones(provider, clock):
    assert provider.resolve_image(Query(name="pytorch-2-3-cu121")).deprecated.year == 2026
    clock.advance(365 * 86400)
    with pytest.raises(NotFoundError, match="pytorch-2-3") as caught:
        provider.resolve_image(Query(name="pytorch-2-3"))
    assert "ended on 2026" in caught.value.details
    assert "pytorch-2-9" in caught.value.resolution


def test_an_unknown_image_gets_a_near_one(provider):
    with pytest.raises(NotFoundError, match="pytorch-2-8") as caught:
        provider.resolve_image(Query(name="pytorch-2-8"))
    assert "did you mean pytorch-2-" in caught.value.resolution


def test_an_image_for_another_architecture_is_not_found(provider):
    with pytest.raises(NotFoundError, match="arm64"):
        provider.resolve_image(Query(arch="arm64"))


def test_an_image_without_a_driver_is_refused_for_gpus(provider):
    with pytest.raises(NotFoundError) as caught:
        provider.resolve_image(Query(name="common-cpu", needs_gpu=True))
    assert "brings no NVIDIA driver" in caught.value.details
    assert provider.resolve_image(Query(name="common-cpu")).driver == ""


def test_a_stock_out_comes_from_wait_and_comes_again(provider, clock, make_request):
    provider.cloud.stockout("L4", zone="sim-central1-a")
    prepared = provider.prepare_create(make_request("gf-abc-0-1", "gf-abc-1-1"))
    for _ in range(2):
        accepted = provider.create(prepared)
        with pytest.raises(CapacityError, match="out of stock in sim-central1-a"):
            _wait(provider, clock, accepted)
    assert provider.list(Selector(owner="ann")).instances == ()


def test_a_quota_comes_from_create(provider, make_request):
    provider.cloud.set_quota("sim-central1", "L4", 0)
    with pytest.raises(QuotaError) as caught:
        provider.create(provider.prepare_create(make_request()))
    assert "gpuforge fake quota" in caught.value.details


def test_an_instance_that_powers_off_while_one_waits_is_an_error_with_its_reason(provider, clock, running):
    (instance,) = running(capacity=CapacityType.SPOT)
    provider.cloud.preempt(instance.ref.instance_id, notice_seconds=0)
    clock.advance(5)
    with pytest.raises(ProviderError, match="will not run") as caught:
        provider.wait((instance.ref,), InstanceState.RUNNING, clock.now() + timedelta(seconds=5))
    assert caught.value.details == "preempted"


def test_waiting_for_what_a_dead_instance_cannot_become_fails_at_once(provider, clock, running):
    (instance,) = running()
    provider.delete((instance.ref,))
    with pytest.raises(NotFoundError):
        provider.wait((instance.ref,), InstanceState.STOPPED, clock.now() + timedelta(seconds=5))


def test_what_was_never_there_or_was_deleted_will_not_run(provider, clock, running):
    (instance,) = running()
    provider.delete((instance.ref,))
    clock.advance(5)
    for ref in (instance.ref, replace(instance.ref, instance_id="1000000000000000001")):
        with pytest.raises(ProviderError, match="is gone and will not run"):
            provider.wait((ref,), InstanceState.RUNNING, clock.now() + timedelta(seconds=5))


def test_a_wait_without_end_says_who_is_where(provider, clock, running):
    (instance,) = running()
    with pytest.raises(ProviderUnavailableError, match="1 of 1 instances were not gone") as caught:
        provider.wait((instance.ref,), InstanceState.GONE, clock.now() + timedelta(seconds=1))
    assert "gf-abc-0-1 is running" in caught.value.details


def test_an_unknown_reference_counts_as_gone(provider, clock, running):
    (instance,) = running()
    other = replace(instance.ref, instance_id="1000000000000000001")
    (gone,) = provider.wait((other,), InstanceState.GONE, clock.now())
    assert gone.ref == other


@pytest.mark.parametrize(
    ("call", "do"),
    [
        ("create", lambda p, request, _: p.create(p.prepare_create(request))),
        ("delete", lambda p, _, ref: p.delete((ref,))),
        ("list", lambda p, *_: p.list(Selector(owner="ann"))),
        ("wait", lambda p, request, ref: p.wait((ref,), InstanceState.RUNNING, request.deadline)),
        ("boot_report", lambda p, _, ref: p.boot_report(ref)),
    ],
)
def test_a_fault_of_any_call_leaves_as_a_kind(provider, running, make_request, call, do):
    (instance,) = running()
    request = make_request("gf-other-0-1")
    for fate, kind in (("lost", ProviderUnavailableError), ("error:rate_limit", RateLimitError)):
        provider.cloud.faults.add(call=call, fate=fate)
        with pytest.raises(kind):
            do(provider, request, instance.ref)
    do(provider, request, instance.ref)


def test_a_disk_that_was_left_behind_is_listed_and_taken_by_the_next_delete(provider, clock, running):
    (instance,) = running()
    provider.cloud.faults.add(call="delete", fate="keeps_disk")
    provider.delete((instance.ref,))
    clock.advance(1)
    for selector in (Selector(owner="ann"), Selector(refs=(instance.ref,))):
        (disk,) = provider.list(selector).disks
        assert (disk.name, disk.zone, disk.size_gib) == ("gf-abc-0-1", "sim-central1-a", 50)
        assert disk.labels["gf-owner"] == "ann"
    provider.delete((instance.ref,))
    assert provider.list(Selector(owner="ann")).disks == ()


def test_an_incomplete_list_says_so(provider):
    provider.cloud.faults.add(call="list", fate="incomplete:sim-east1-a")
    listing = provider.list(Selector(owner="ann"))
    assert not listing.complete
    assert "sim-east1-a" in listing.warnings[0]


def test_a_list_of_nobody_is_empty(provider, running):
    running()
    assert provider.list(Selector()).instances == ()


def test_the_report_says_how_a_node_learns_of_its_end_and_ends_itself(provider, clock, running):
    (instance,) = running()
    early = provider.boot_report(instance.ref)
    assert (early.host_keys, early.console_tail) == (None, "gf-abc-0-1 is booting")
    clock.advance(1)
    report = provider.boot_report(instance.ref)
    assert report.route.user == "ubuntu"
    assert report.route.host in report.instance.addresses
    assert report.notice.url == "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/preempted"
    assert report.self_delete.method == "POST"
    assert report.self_delete.url == "http://$GCE_METADATA_HOST/gpuforge/self-delete"
    for call in (report.notice, report.self_delete):
        assert call.headers == {"Metadata-Flavor": "Google"}


def test_a_node_starts_no_more_ranks_than_this_computer_has_cores(provider, running):
    cores = os.cpu_count() or 1
    (big,) = running("gf-big-0-1", gpu="A100-80GB", zone="sim-central1-c")
    (small,) = running("gf-small-0-1", gpu="L4")
    (plain,) = running("gf-plain-0-1", gpu="")
    assert provider.boot_report(big.ref).capped_gpus == min(8, cores)
    assert provider.boot_report(small.ref).capped_gpus == 1
    assert provider.boot_report(plain.ref).capped_gpus is None


def test_with_openssh_one_logs_in_as_oneself(make_provider, make_request, clock):
    import getpass  # noqa: PLC0415 - only here

    provider = make_provider(GPUFORGE_FAKE_SSHD="openssh")
    accepted = provider.create(provider.prepare_create(make_request()))
    clock.advance(5)
    assert provider.boot_report(accepted.refs[0]).route.user == getpass.getuser()


def _checks(provider):
    return {check.name: check for check in provider.preflight()}


def test_preflight_says_that_rows_alone_run_nothing(provider):
    checks = _checks(provider)
    assert checks["fake machines"].status is CheckStatus.SKIP
    assert checks["fake state"].status is CheckStatus.PASS


def test_preflight_finds_an_ssh_server(make_provider, tmp_path, monkeypatch):
    real = _checks(make_provider(GPUFORGE_FAKE_MACHINES="processes"))
    assert real["fake machines"].status is CheckStatus.PASS
    assert real["fake ssh server"].message == "asyncssh"
    sshd = tmp_path / "sshd"
    sshd.write_text("#!/bin/sh\n")
    sshd.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _checks(make_provider(GPUFORGE_FAKE_SSHD="openssh"))["fake ssh server"].message == str(sshd)


def test_preflight_says_what_to_install_where_there_is_no_sshd(make_provider, monkeypatch):
    monkeypatch.setattr("gpuforge.providers.fake.provider.SSHD_FOLDERS", ())
    monkeypatch.setenv("PATH", "/nonexistent")
    check = _checks(make_provider(GPUFORGE_FAKE_SSHD="openssh"))["fake ssh server"]
    assert check.status is CheckStatus.FAIL
    assert "openssh-server" in check.fix


def test_preflight_reports_a_state_that_cannot_be_used(provider):
    provider.cloud.folder.mkdir(parents=True)
    (provider.cloud.folder / "cloud.sqlite3").write_bytes(b"garbage" * 1000)
    check = _checks(provider)["fake state"]
    assert check.status is CheckStatus.FAIL
    assert "reset" in check.fix


def test_a_wrong_setting_is_refused_when_the_provider_is_made(clock):
    with pytest.raises(SpecError, match="GPUFORGE_FAKE_LATENCY"):
        FakeProvider(Paths.from_environment(), clock, {"GPUFORGE_FAKE_LATENCY": "soon"})


def test_a_cloud_can_be_brought_along(tmp_path, clock):
    cloud = SimCloud(tmp_path / "elsewhere", clock)
    assert FakeProvider(Paths.from_environment(), clock, {}, cloud=cloud).cloud is cloud
