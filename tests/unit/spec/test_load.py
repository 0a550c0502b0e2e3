"""The doors to task files, and a file like those that others ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuforge.errors import SpecError
from gpuforge.spec.load import load_task, load_task_text, task_from_overrides
from gpuforge.spec.overrides import Overrides

# keys, order and style as in published SkyPilot examples
SKYPILOT = """\
name: finetune
num_nodes: 2
workdir: .
resources:
  infra: fake/sim-central1
  accelerators: H100:8
  cpus: 96+
  memory: 1000+
  use_spot: true
  disk_size: 256
  max_hourly_cost: 100.0
  autostop: {idle_minutes: 15, down: true}
  any_of:
    - zone: sim-central1-a
    - zone: sim-central1-b
envs:
  MODEL: meta/llama
  EPOCHS: 4
secrets: {HF_TOKEN: null}
file_mounts:
  /data: ./data
setup: |
  uv sync
run: |
  uv run torchrun train.py
"""


def test_a_published_file_is_read_with_its_meaning(tmp_path):
    """No key is dropped on the way."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "task.yaml"
    path.write_text(SKYPILOT)

    task = load_task(path, environ={"HF_TOKEN": "hush-hush"}, cwd=tmp_path, known_providers=["fake"])

    assert (task.name, task.num_nodes, task.workdir, task.source) == ("finetune", 2, tmp_path, path)
    assert [need.zone for need in task.needs().alternatives] == ["sim-central1-a", "sim-central1-b"]
    assert {str(need.accelerators[0]) for need in task.needs().alternatives} == {"H100:8"}
    assert task.envs == {"MODEL": "meta/llama", "EPOCHS": "4"}
    assert task.secrets["HF_TOKEN"].reveal() == "hush-hush"
    assert (task.autostop_minutes, task.setup, task.run) == (15, "uv sync\n", "uv run torchrun train.py\n")
    assert task.warnings == ()


def test_a_file_is_named_as_the_user_would(tmp_path):
    """Relative where it lies below the caller's folder, absolute elsewhere."""
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "a b.yaml"
    path.write_text("nam: x\n")

    for cwd, shown in [
        (tmp_path, "sub/a b.yaml"),
        (tmp_path / "sub", "a b.yaml"),
        (Path("/"), str(path)[1:]),
    ]:
        with pytest.raises(SpecError) as caught:
            load_task(path, environ={}, cwd=cwd)
        assert caught.value.mistakes[0].where == f"{shown}:1:1"
        assert caught.value.brief == f"{shown} has 1 mistake"


def test_a_text_has_the_name_that_is_given():
    """For tasks that come from elsewhere than a file."""
    with pytest.raises(SpecError, match=r"^stdin has 1 mistake"):
        load_task_text(b"nam: x\n", name="stdin", environ={}, cwd=Path("/"))


def test_a_command_alone_is_a_task(tmp_path):
    """Nothing but flags."""
    task = task_from_overrides(Overrides(run="nvidia-smi", gpus="L4"), environ={}, cwd=tmp_path)

    assert (task.run, task.workdir, task.source, task.cluster_name()) == (
        "nvidia-smi",
        None,
        None,
        task.cluster_name(),
    )
    assert str(task.needs().alternatives[0].accelerators[0]) == "L4:1"


def test_an_empty_map_is_a_task(tmp_path):
    """The command line passes it when there is no file."""
    assert load_task_text("{}", environ={}, cwd=tmp_path).run == ""


def test_the_environment_is_the_one_passed_in(tmp_path, monkeypatch):
    """Not the process's."""
    monkeypatch.setenv("TOKEN", "of the process")

    with pytest.raises(SpecError, match="needs a value"):
        load_task_text("secrets: [TOKEN]\n", environ={}, cwd=tmp_path)
