"""``gpuforge fake``: what each verb does, prints, answers in JSON, and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta

import pytest
from click.testing import CliRunner

from gpuforge.errors import DeclinedError, InvalidRequestError, NotFoundError, QuotaError
from gpuforge.models.clock import SystemClock
from gpuforge.models.instance import InstanceState
from gpuforge.models.resources import CapacityType
from gpuforge.providers.fake.cli import fake


@pytest.fixture
def clock():
    # the verbs live in real time
    return SystemClock()


@pytest.fixture(autouse=True)
def _rows_alone(monkeypatch):
    monkeypatch.setenv("GPUFORGE_FAKE_MACHINES", "none")
    monkeypatch.setenv("GPUFORGE_FAKE_LATENCY", "0")


@pytest.fixture
def make_provider(make_provider):
    return lambda **environ: make_provider(GPUFORGE_FAKE_LATENCY="0", **environ)


@pytest.fixture
def run():
    """A verb's output; its error comes out as the error it is."""

    def call(*words, **settings):
        done = CliRunner().invoke(fake, list(words), catch_exceptions=False, **settings)
        assert done.exit_code == 0, done.output
        return done.output

    return call


@pytest.fixture
def data(run):
    """What a verb answers in JSON."""

    def call(*words):
        document = json.loads(run(*words, "--json"))
        assert (document["schema"], document["ok"], document["error"]) == ("gpuforge/1", True, None)
        return document["data"]

    return call


def test_an_empty_cloud_says_that_it_is(run, data):
    assert run("status") == "no instances\n"
    assert data("status")["instances"] == []


def test_status_shows_instances_stock_outs_quota_and_faults(run, data, running, provider):
    (instance,) = running()
    provider.cloud.stockout("sim-t4", zone="sim-east1-b", capacity_type="spot")
    provider.cloud.faults.add(call="create", fate="error:capacity", times=3)
    text = run("status")
    assert "gf-abc-0-1  sim-central1-a  sim-l4  RUNNING" in text
    assert "out of stock   sim-t4 spot in sim-east1-b until" in text
    assert "quota          L4 in sim-central1: 1 of 64" in text
    assert "fault armed    create: error capacity × 3" in text
    document = data("status")
    assert document["instances"][0]["id"] == instance.ref.instance_id
    assert document["instances"][0]["labels"]["gf-cluster"] == "train"
    assert document["stockouts"][0]["instance_type"] == "sim-t4"
    assert document["quotas"] == [{"region": "sim-central1", "metric": "L4", "limit": 64, "used": 1}]
    assert document["faults"] == [{"call": "create", "fate": "error", "argument": "capacity", "times": 3}]


def test_a_stock_out_takes_a_gpu_by_any_of_its_names(run, data):
    text = run("stockout", "nvidia-a100", "--zone", "sim-central1-a", "--minutes", "2")
    assert "sim-a100, sim-a100-8x in sim-central1-a" in text
    answer = data("stockout", "l4", "--capacity", "spot")
    assert answer["instance_types"] == ["sim-l4", "sim-l4-4x"]
    # two A100 types bought in two ways, and two L4 types on spot in the seven and five zones that sell them
    assert len(data("status")["stockouts"]) == 4 + 12
    assert "16 stock-outs ended" in run("stockout", "--clear")
    assert data("status")["stockouts"] == []


@pytest.mark.parametrize("words", [[], ["L4", "--clear"]])
def test_a_stock_out_of_nothing_or_with_clear_is_a_usage_error(words):
    done = CliRunner().invoke(fake, ["stockout", *words])
    assert done.exit_code == 2
    assert "--clear" in done.output


def test_a_stock_out_of_what_is_not_sold_names_what_is(run):
    with pytest.raises(InvalidRequestError, match="sim-l44") as caught:
        run("stockout", "sim-l44")
    assert "did you mean sim-l4" in caught.value.details


def test_a_cluster_is_preempted_with_all_its_nodes(run, data, running, provider, clock):
    gang = running("gf-abc-0-1", "gf-abc-1-1", capacity=CapacityType.SPOT)
    assert data("preempt", "train", "--notice", "0") == {
        "preempted": ["gf-abc-0-1", "gf-abc-1-1"],
        "notice_seconds": 0.0,
    }
    refs = tuple(instance.ref for instance in gang)
    provider.wait(refs, InstanceState.GONE, clock.now() + timedelta(seconds=20))


@pytest.mark.parametrize("by", ["name", "instance_id"])
def test_one_instance_is_preempted_by_its_name_or_id(run, running, provider, by):
    first, _ = running("gf-abc-0-1", "gf-abc-1-1", capacity=CapacityType.SPOT)
    assert "power-off in 30 s" in run("preempt", getattr(first.ref, by))
    assert [row.preempt_at is not None for row in provider.cloud.everything()] == [True, False]


def test_an_on_demand_instance_is_not_preempted(run, running):
    running()
    with pytest.raises(InvalidRequestError, match="on demand"):
        run("preempt", "train")


def test_a_reboot_counts(run, data, running, provider):
    running()
    assert run("reboot", "train") == "rebooting: gf-abc-0-1\n"
    assert data("reboot", "gf-abc-0-1") == {"rebooting": ["gf-abc-0-1"]}
    assert [row.reboot_count for row in provider.cloud.everything()] == [2]


@pytest.mark.parametrize("verb", ["preempt", "reboot"])
def test_an_unknown_name_gets_the_one_that_was_meant(run, running, verb):
    with pytest.raises(NotFoundError) as caught:
        run(verb, "x y;'ü")
    assert caught.value.details == "there are none"
    running()
    with pytest.raises(NotFoundError) as caught:
        run(verb, "trian")
    assert "did you mean train?" in caught.value.details


def test_quotas_are_shown_and_set_for_one_region_or_all(run, data, provider, make_request):
    assert "sim-east1     H100       64     0" in run("quota")
    run("quota", "h100", "8", "--region", "sim-east1")
    limits = {(x["region"], x["metric"]): x["limit"] for x in data("quota")}
    assert limits["sim-east1", "H100"] == 8
    assert limits["sim-central1", "H100"] == 64
    run("quota", "L4", "0")
    assert {x["limit"] for x in data("quota") if x["metric"] == "L4"} == {0}
    assert {x["region"] for x in data("quota", "--region", "sim-west1")} == {"sim-west1"}
    run("quota", "CPUS", "3")
    with pytest.raises(QuotaError):
        provider.create(provider.prepare_create(make_request()))


@pytest.mark.parametrize(("words", "code"), [(["L4"], 2), (["L4", "-1"], 2), (["L4", "many"], 2)])
def test_half_a_quota_is_a_usage_error(words, code):
    assert CliRunner().invoke(fake, ["quota", "--", *words]).exit_code == code


def test_a_quota_of_an_unknown_thing_is_refused(run):
    with pytest.raises(InvalidRequestError, match="no quota L5"):
        run("quota", "L5", "1")


def test_a_reset_asks_and_without_anybody_to_ask_does_nothing(run, running, provider):
    running()
    for words in (["reset"], ["reset", "--json"]):
        with pytest.raises(DeclinedError) as caught:
            run(*words)
        assert "--yes" in caught.value.resolution
    assert len(provider.cloud.everything()) == 1
    assert "1 instances ended" in run("reset", "--yes")
    assert not provider.cloud.folder.exists()


def test_a_reset_heals_a_cloud_that_cannot_be_read(run, data, provider):
    provider.cloud.folder.mkdir(parents=True)
    (provider.cloud.folder / "cloud.sqlite3").write_bytes(b"garbage" * 1000)
    assert data("reset", "--yes") == {"ended": 0}
    assert run("status") == "no instances\n"


@pytest.mark.parametrize("verb", ["status", "stockout", "preempt", "reboot", "quota", "reset"])
def test_every_verb_has_json_and_an_example_in_its_help(run, verb):
    text = run(verb, "--help")
    assert "--json" in text
    assert f"gpuforge fake {verb}" in text


def test_the_group_loads_nothing_but_click():
    code = (
        "import sys, gpuforge.providers.fake.cli\n"
        "print([m for m in ('rich', 'pydantic', 'paramiko', 'gpuforge.simcloud.cloud') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
