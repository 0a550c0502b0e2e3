"""What ``gpuforge init`` writes must load."""

from __future__ import annotations

import re

import pytest

from gpuforge.errors import SpecError
from gpuforge.spec.template import task_template


@pytest.mark.parametrize("name", ["train", "7up", "2026", "010", "on", "Yes", "null", "a.b-c_d", "1e3", "n"])
@pytest.mark.parametrize("gpu", ["L4:1", "A100-80GB:8", "h100"])
def test_it_loads_without_a_mistake_or_a_warning(load, name, gpu):
    """Whatever YAML makes of the name."""
    task = load(task_template(name, gpu))

    assert task.name == name
    assert gpu.upper().startswith(task.needs().alternatives[0].accelerators[0].name.upper())
    assert task.warnings == ()


def test_every_commented_key_loads_too(load, tmp_path):
    """Uncommented, each with the value that stands there."""
    (tmp_path / "sub").mkdir()
    text = task_template("x", "L4")
    lines = []
    for line in text.splitlines():
        found = re.match(
            r"(\s*)# (\s*(?:[a-z_~/]+|[A-Z_]+): \S.*|\s*(?:envs|secrets|file_mounts|outputs):|  - \w+.*)$",
            line,
        )
        lines.append(f"{found[1]}{found[2]}" if found else line)
    uncommented = "\n".join(lines).replace("../datasets/small", "sub")

    task = load(uncommented, environ={"HF_TOKEN": "hush-hush"})

    assert task.num_nodes == 2
    assert task.envs == {"EPOCHS": "4"}
    assert task.outputs == ("runs",)
    assert task.autostop_minutes == 20
    assert [mount.remote for mount in task.file_mounts] == ["data"]
    assert task.needs().alternatives[0].instance_type == "sim-l4"


@pytest.mark.parametrize(
    ("name", "gpu", "flags"),
    [
        ("a b", "L4", ["--name"]),
        ("x", "L4\nrun: rm", ["--gpus"]),
        ("", "", ["--name", "--gpus"]),
        ("x", "80GB", ["--gpus"]),
    ],
)
def test_what_would_not_load_is_refused_instead(name, gpu, flags):
    """Both flags at once."""
    with pytest.raises(SpecError) as caught:
        task_template(name, gpu)

    assert [mistake.where for mistake in caught.value.mistakes] == flags
