"""``resources.accelerators``: one, a list in order, or a map of which any will do."""

from __future__ import annotations

import pytest

from gpuforge.models.resources import Accelerator


def _gpus(task):
    need = task.needs().alternatives[0]
    return [str(gpu) for gpu in need.accelerators], need.accelerators_ordered


@pytest.mark.parametrize(
    ("value", "gpus", "ordered"),
    [
        ("A100", ["A100:1"], False),
        ("A100:8", ["A100:8"], False),
        ("A100-80GB:4", ["A100-80GB:4"], False),
        ("{H100: 8, A100-80GB: 8}", ["H100:8", "A100-80GB:8"], False),
        ("{H100:8, A100-80GB:8}", ["H100:8", "A100-80GB:8"], False),
        ("{L4: }", ["L4:1"], False),
        ("[H100:8, A100]", ["H100:8", "A100:1"], True),
        ("[L4]", ["L4:1"], True),
    ],
)
@pytest.mark.parametrize("key", ["accelerators", "gpu", "gpus"])
def test_the_forms_of_a_file(load, key, value, gpus, ordered):
    """A flow map without spaces is read as it is meant, though YAML sees keys without values."""
    assert _gpus(load(f"resources:\n  {key}: {value}\n")) == (gpus, ordered)


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ("[L4, 80GB+, tpu-v4, L4:1, 5]",
         {"2:22": "name the GPU instead", "2:29": "TPUs", "2:37": "twice", "2:43": "NAME:COUNT"}),
        ("{L4: 0, T4: x, V100:2: 3}",
         {"2:22": "from 1 to 1024", "2:29": "not a whole number", "2:40": "two counts; write V100: 2"}),
        ("{L4: 010}", {"2:22": "YAML reads 010 as 8"}),
        ("[[L4]]", {"2:18": "a list is not a GPU"}),
        ("[{L4: 1}]", {"2:18": "a map is not a GPU"}),
        ("[]", {"2:17": "no GPU is named here"}),
        ("{}", {"2:17": "no GPU is named here"}),
        ("8", {"2:17": "says how many GPUs but not which"}),
        ("yes", {"2:17": "quote it"}),
        ('""', {"2:17": "name a GPU"}),
        ("L4:1:30", {"2:17": "whole number of GPUs"}),
    ],
)  # fmt: skip
def test_each_wrong_gpu_is_refused_at_its_own_place(refused, value, places):
    """All of them at once."""
    found = refused(f"resources:\n  accelerators: {value}\n")

    assert found.keys() == places.keys()
    assert all(says in found[where] for where, says in places.items())


def test_a_gpu_with_a_space_before_its_count_gets_the_fix(refused):
    """The most likely slip of all."""
    assert 'a second ": "' in refused("resources:\n  accelerators: L4: 1\n")["2:19"]


def test_ready_made_accelerators_are_taken_from_python():
    """Values of ``models`` go in as they are."""
    from gpuforge.spec.task import Task  # noqa: PLC0415

    task = Task(resources={"accelerators": [Accelerator("L4", count=2), "T4"]})

    assert _gpus(task) == (["L4:2", "T4:1"], True)
    again = Task(resources={"accelerators": task.resources.accelerators})
    assert _gpus(again) == (["L4:2", "T4:1"], True)
