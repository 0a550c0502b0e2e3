"""Which cluster is meant, and whether a task fits on it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from gpuforge.errors import NotFoundError, PolicyError
from gpuforge.models.cluster import ClusterState
from gpuforge.models.resources import Accelerator
from gpuforge.provision.clusters import choose, describe, hardware, misfits, reuse
from gpuforge.spec.load import Overrides, task_from_overrides
from gpuforge.testing.nodes import local_cluster

PLAIN = local_cluster(1)
GPU = replace(
    PLAIN, name="train",
    offering=replace(
        PLAIN.offering, instance_type="sim-a100-8x", vcpus=96, memory_gib=Decimal(680),
        accelerator=Accelerator(name="A100", memory_gib=40, count=8),
    ),
)  # fmt: skip


def task(**flags):
    return task_from_overrides(Overrides(run="true", **flags), environ={}, cwd=Path("/"))


def test_the_only_cluster_needs_no_name():
    """Several do."""
    assert choose([PLAIN], None) is PLAIN
    with pytest.raises(NotFoundError, match="2 clusters are up: which one") as caught:
        choose([PLAIN, GPU], None)
    assert caught.value.details == "local, train"
    with pytest.raises(NotFoundError, match="no cluster is up"):
        choose([], None)


def test_a_name_is_matched_exactly_and_a_near_one_is_offered():
    """Never guessed: the wrong machine would be deleted."""
    assert choose([PLAIN, GPU], "train") is GPU
    with pytest.raises(NotFoundError) as caught:
        choose([PLAIN, GPU], "trian")
    assert caught.value.details == "did you mean 'train'?"


@pytest.mark.parametrize(
    "flags",
    [
        {}, {"gpus": "A100:8"}, {"gpus": "A100:4"}, {"gpus": "a100:1"}, {"instance_type": "sim-a100-8x"},
        {"infra": "fake/sim-central1"}, {"infra": "fake/sim-central1/sim-central1-a"}, {"num_nodes": 1},
        {"cpus": "96"}, {"cpus": "8+"}, {"memory": "64+"}, {"memory": "680"},
    ],
)  # fmt: skip
def test_what_needs_no_more_than_there_is_fits(flags):
    """Fewer GPUs of the same kind do too."""
    assert misfits(GPU, task(**flags)) == []
    assert reuse(GPU, task(**flags)) is GPU


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"gpus": "H100:8"}, "it has A100:8, the task wants H100:8"),
        ({"gpus": "A100:16"}, "it has A100:8, the task wants A100:16"),
        ({"gpus": "A100-80GB:1"}, "it has A100:8, the task wants A100-80GB"),
        ({"instance_type": "sim-l4"}, "it is a sim-a100-8x, the task wants sim-l4"),
        ({"infra": "fake/sim-east1"}, "it is in sim-central1-a, the task wants sim-east1"),
        ({"infra": "gcp"}, "it is on fake, the task wants gcp"),
        ({"num_nodes": 2}, "it has 1 node, the task wants 2"),
        ({"cpus": "8"}, "it has 96 vCPUs, the task wants 8"),
        ({"memory": "64"}, "it has 680 GiB, the task wants 64"),
    ],
)
def test_each_misfit_has_its_reason(flags, reason):
    """And both ways out."""
    with pytest.raises(PolicyError) as caught:
        reuse(GPU, task(**flags))

    assert reason in caught.value.details
    assert "-c train-2" in caught.value.resolution
    assert "gpuforge down train" in caught.value.resolution


def test_a_gpu_nobody_knows_fits_nowhere():
    """Nor does any on a machine without one."""
    assert misfits(GPU, task(gpus="H1000:1"))
    assert misfits(PLAIN, task(gpus="L4:1")) == ["it has no GPU, the task wants L4"] or misfits(
        PLAIN, task(gpus="L4:1")
    ) == ["it has no GPU, the task wants L4:1"]


@pytest.mark.parametrize("state", [ClusterState.CREATING, ClusterState.DELETING])
def test_an_unfinished_cluster_is_not_reused(state):
    """What finishes it is named."""
    with pytest.raises(PolicyError) as caught:
        reuse(replace(GPU, state=state), task())

    assert f"cluster train is {state}" in caught.value.brief
    assert "gpuforge gc" in caught.value.resolution


def test_a_cluster_is_told_in_a_line():
    """Hardware, place, state and end."""
    assert hardware(GPU) == "1 × A100:8"
    assert hardware(PLAIN) == "1 × sim-cpu"
    assert hardware(replace(GPU, nodes=local_cluster(2).nodes)) == "2 × A100:8"
    assert describe(PLAIN).startswith("local: 1 × sim-cpu on fake/sim-central1-a, ready, ends 2")
