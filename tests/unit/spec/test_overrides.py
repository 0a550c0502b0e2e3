"""Flags win over the file, and a mistake in a flag names the flag."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from decimal import Decimal

import pytest

from gpuforge.errors import SpecError
from gpuforge.models.resources import CapacityType
from gpuforge.redact import Secret
from gpuforge.spec.load import Overrides, task_from_overrides

FILE = """\
name: old
num_nodes: 1
infra: fake/old-region
labels: {team: old}
envs: {A: old, B: }
secrets: {S: }
resources: {gpus: L4, cpus: 4, memory: 8, disk_size: 10, autostop: false, use_spot: false}
setup: old
run: old
max_cost: 1
max_duration: 1h
"""


def test_every_flag_replaces_its_key(load, tmp_path):
    """One flag each, over a file that says otherwise."""
    (tmp_path / "src").mkdir()
    task = load(
        FILE, name="new", num_nodes=2, infra="fake/r/z", labels={"team": "new"}, envs={"A": "new", "B": "b"},
        secrets={"S": "hush-hush"}, gpus="A100:8", cpus="8+", memory="64GB+", instance_type="t",
        use_spot=True,
        disk_size=100, image="i", max_duration="2h", max_cost="9.50", max_hourly_cost=Decimal(3),
        autostop_minutes=5, workdir="src", setup="new", run="new", launcher="torchrun",
    )  # fmt: skip
    need = task.needs().alternatives[0]

    assert (task.name, task.num_nodes, task.labels, task.setup, task.run) == (
        "new",
        2,
        {"team": "new"},
        "new",
        "new",
    )
    assert (task.envs, task.secrets) == ({"A": "new", "B": "b"}, {"S": Secret("hush-hush")})
    assert (task.max_duration, task.max_cost, task.launcher) == (
        timedelta(hours=2),
        Decimal("9.50"),
        "torchrun",
    )
    assert (task.provider, need.region, need.zone, task.workdir) == ("fake", "r", "z", tmp_path / "src")
    assert ([str(gpu) for gpu in need.accelerators], str(need.cpus), str(need.memory_gib)) == (
        ["A100:8"],
        "8+",
        "64+",
    )
    assert (need.instance_type, need.capacity_type, need.disk_gib, need.image) == (
        "t",
        CapacityType.SPOT,
        100,
        "i",
    )
    assert (need.max_usd_per_hour, task.autostop_minutes) == (3, 5)


def test_no_flag_changes_nothing(load):
    """``None`` says nothing."""
    environ = {"B": "b", "S": "hush-hush"}

    assert load(FILE, environ=environ, name=None).needs() == load(FILE, environ=environ).needs()


FLAGS = {
    "name": ("a b", "--name"),
    "gpus": ("80GB+", "--gpus"),
    "cpus": ("x", "--cpus"),
    "memory": ("x", "--memory"),
    "infra": ("azure", "--infra"),
    "cloud": ("azure", "--cloud"),
    "region": ("a b", "--region"),
    "zone": ("a b", "--zone"),
    "instance_type": ("a b", "--instance-type"),
    "use_spot": ("x", "--use-spot"),
    "disk_size": (0, "--disk-size"),
    "image": ("docker:x", "--image"),
    "num_nodes": (0, "--num-nodes"),
    "max_duration": ("90", "--max-duration"),
    "max_cost": ("$5", "--max-cost"),
    "max_hourly_cost": ("0", "--max-hourly-cost"),
    "autostop_minutes": (-1, "--autostop"),
    "workdir": ("gone", "--workdir"),
    "setup": ("a\0", "--setup"),
    "run": ("a\0", "--run"),
    "launcher": ("mpi", "--launcher"),
    "labels": ({"A": "x"}, "--label"),
    "envs": ({"A": None}, "--env"),
    "secrets": ({"A": None}, "--secret"),
}


@pytest.mark.parametrize("name", [item.name for item in fields(Overrides)])
def test_a_wrong_flag_is_named_and_nothing_else(refused, name):
    """Also over a file that says it rightly, and never with the file's line."""
    value, flag = FLAGS[name]

    assert list(refused("run: x\nregion: r\n", **{name: value})) == [flag]


@pytest.mark.parametrize("name", [item.name for item in fields(Overrides)])
def test_without_a_file_flags_are_checked_alike(tmp_path, name):
    """``gpuforge run -- command`` has no file."""
    value, flag = FLAGS[name]

    with pytest.raises(SpecError) as caught:
        task_from_overrides(Overrides(**{name: value}), environ={}, cwd=tmp_path, known_providers=["fake"])

    assert [mistake.where for mistake in caught.value.mistakes] == [flag]
    assert caught.value.brief == "the command line has 1 mistake"


def test_a_flag_over_a_mistake_of_the_file_hides_it(load):
    """The user has corrected it."""
    assert load("num_nodes: many\nresources: {gpus: 80GB+}\n", num_nodes=2, gpus="L4").num_nodes == 2


def test_mistakes_of_file_and_flags_come_together(load):
    """The file's first."""
    with pytest.raises(SpecError) as caught:
        load("nam: x\nnum_nodes: 2\n", num_nodes=0)

    assert [mistake.where for mistake in caught.value.mistakes] == ["gpuforge.yaml:1:1", "--num-nodes"]
    assert caught.value.brief == "gpuforge.yaml and the command line have 2 mistakes"


ALTERNATIVES = """\
resources:
  infra: fake/r
  any_of:
    - {gpus: L4, region: x}
    - {gpus: T4, use_spot: true}
"""


def test_a_flag_holds_for_every_alternative(load):
    """``--gpus`` over a choice of GPUs leaves no choice."""
    needs = load(ALTERNATIVES.replace("infra: fake/r", "cloud: fake"), gpus="A100:8", use_spot=False).needs()

    assert {str(gpu) for need in needs.alternatives for gpu in need.accelerators} == {"A100:8"}
    assert {need.capacity_type for need in needs.alternatives} == {CapacityType.ON_DEMAND}


@pytest.mark.parametrize(
    ("flags", "places"),
    [
        ({"infra": "fake/new"}, [("fake", "new", None)] * 2),
        ({"cloud": "fake"}, [("fake", None, None)] * 2),
        ({"region": "new"}, [("fake", "new", None)] * 2),
        ({"cloud": "fake", "region": "new"}, [("fake", "new", None)] * 2),
        ({"zone": "new-a"}, [("fake", None, "new-a")] * 2),
        ({"region": "new", "zone": "new-a"}, [("fake", "new", "new-a")] * 2),
    ],
)
def test_a_place_from_flags_rules_everywhere(load, flags, places):
    """The file's provider stays when the flag names none."""
    task = load(ALTERNATIVES, **flags)

    assert [(task.provider, need.region, need.zone) for need in task.needs().alternatives] == places


@pytest.mark.parametrize("text", ["run: x\n", "region: old\n", "resources: {cpus: 4}\n"])
def test_a_region_alone_leaves_the_provider_to_the_settings(load, text):
    """When the file names none."""
    task = load(text, region="new")

    assert (task.provider, task.needs().alternatives[0].region) == (None, "new")


@pytest.mark.parametrize("text", ["cloud: fake\nregion: old\n", "resources: {cloud: fake}\n"])
def test_a_region_keeps_the_provider_in_any_of_its_words(load, text):
    """``cloud`` as well as ``infra``."""
    task = load(text, region="new")

    assert (task.provider, task.needs().alternatives[0].region) == ("fake", "new")


def test_the_files_wrong_provider_is_shown_where_it_stands(refused):
    """Also when a flag replaces the region beside it."""
    assert list(refused("resources:\n  infra: azure/old\n", region="new")) == ["2:10"]


def test_a_region_keeps_no_star_as_provider(load):
    """A star is no provider's name."""
    task = load("infra: '*/old'\n", region="new")

    assert (task.provider, task.needs().alternatives[0].region) == (None, "new")


def test_what_the_file_keeps_secret_stays_secret(load):
    """Whichever flag gives the value."""
    task = load("secrets: {S: }\nenvs: {A: x}\n", envs={"S": "hush-hush"}, secrets={"A": "hush-too"})

    assert task.envs == {}
    assert task.secrets == {"S": Secret("hush-hush"), "A": Secret("hush-too")}


def test_a_bare_flag_takes_the_value_from_the_environment(load):
    """``--env NAME`` and ``--secret NAME``."""
    task = load("run: x\n", environ={"A": "a", "S": "hush-hush"}, envs={"A": None}, secrets={"S": None})

    assert (task.envs, task.secrets) == ({"A": "a"}, {"S": Secret("hush-hush")})


def test_zero_idle_minutes_by_flag_turn_autostop_off(load):
    """As the flag's help says."""
    assert load(FILE, environ={"B": "", "S": "hush"}, autostop_minutes=0).autostop_minutes is None


@pytest.mark.parametrize("text", ["resources: x\n", "resources: {any_of: x}\n", "envs: x\n", "labels: [x]\n"])
def test_a_file_of_the_wrong_shape_is_refused_all_the_same(refused, text):
    """Flags are merged into maps alone."""
    found = refused(text, gpus="L4", region="r", envs={"A": "b"}, labels={"a": "b"})

    assert [where[:2] for where in found] == ["1:"]


def test_the_place_of_a_key_set_by_a_flag_is_the_flag(load):
    """For checks that come later, such as the catalogue's."""
    task = load("resources: {gpus: L4}\n", gpus="B9000")

    assert task.mark("resources.accelerators") is None
    assert task.mistake("resources.accelerators", "no such GPU").where == "--gpus"
