"""The JSON Schema for editors: current, complete, and in agreement with the models."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.errors import SpecError
from gpuforge.spec import schema as module
from gpuforge.spec.keys import RESOURCE_ALIASES, TASK_ALIASES
from gpuforge.spec.schema import published_schema, task_schema
from gpuforge.spec.task import Resources, Task

SCHEMA = task_schema()


def test_the_published_schema_is_current():
    """``python -m gpuforge.spec.schema`` writes it anew."""
    assert published_schema() == SCHEMA


def test_the_file_is_written_as_it_is_published(tmp_path, monkeypatch):
    """The command changes nothing when nothing changed."""
    target = tmp_path / "schema.py"
    monkeypatch.setattr(module, "__file__", str(target))

    module.main()

    assert (tmp_path / module.SCHEMA_FILE).read_text("utf-8") == module.schema_text()


def test_it_is_versioned_and_closed():
    """An editor underlines unknown keys."""
    assert SCHEMA["$id"] == "urn:gpuforge:task:1"
    assert SCHEMA["additionalProperties"] is False
    assert SCHEMA["$defs"]["Resources"]["additionalProperties"] is False
    assert SCHEMA["$defs"]["Alternative"]["additionalProperties"] is False


def test_every_key_and_alias_is_there_with_a_description():
    """What an editor shows while typing."""
    assert SCHEMA["properties"].keys() == Task.model_fields.keys() | TASK_ALIASES.keys()
    assert (
        SCHEMA["$defs"]["Resources"]["properties"].keys()
        == Resources.model_fields.keys() | RESOURCE_ALIASES.keys()
    )
    for place in (SCHEMA, *SCHEMA["$defs"].values()):
        assert [key for key, value in place["properties"].items() if not value.get("description")] == []


def _accepts(node, value):  # noqa: C901, PLR0911 - one branch per word of the schema
    """The few words of JSON Schema that the published one uses."""
    if "$ref" in node:
        target = SCHEMA
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return _accepts(target, value)
    if "anyOf" in node:
        return any(_accepts(item, value) for item in node["anyOf"])
    if "const" in node:
        return value == node["const"]
    if "enum" in node:
        return value in node["enum"]
    kinds = node["type"] if isinstance(node["type"], list) else [node["type"]]
    kind = {str: "string", bool: "boolean", dict: "object", list: "array", type(None): "null"}.get(
        type(value), "number"
    )
    if kind not in kinds and not (isinstance(value, int) and "integer" in kinds and kind == "number"):
        return False
    if kind == "string":
        return re.search(node.get("pattern", ""), value) is not None
    if kind == "number":
        is_above = value > node.get("exclusiveMinimum", value - 1)
        return is_above and node.get("minimum", value) <= value <= node.get("maximum", value)
    if kind == "array":
        return len(value) >= node.get("minItems", 0) and all(_accepts(node["items"], item) for item in value)
    if kind == "object":
        return _accepts_object(node, value)
    return True


def _accepts_object(node, value):
    names = node.get("propertyNames", {}).get("pattern", "")
    rest = node.get("additionalProperties", True)
    return (
        all(re.search(names, key) for key in value)
        and len(value) >= node.get("minProperties", 0)
        and all(key in value for key in node.get("required", ()))
        and all(
            _accepts(node["properties"][key], item)
            if key in node.get("properties", {})
            else rest is True or (rest is not False and _accepts(rest, item))
            for key, item in value.items()
        )
    )


GOOD = [
    {},
    {"name": 2026, "run": 5, "outputs": [5], "resources": {"image": 5, "instance_type": 5}, "region": 5},
    {"name": "x", "num_nodes": 2, "run": "a", "setup": None, "launcher": "torchrun", "max_cost": 3.5},
    {"nodes": 2, "env": ["A=b"], "secrets": {"S": "x"}, "outputs": ["runs"], "max_duration": "1d2h"},
    {"envs": {"A": "b", "B": 5}, "labels": {"a": "b"}, "infra": "fake/r/z"},
    {"resources": {"gpus": "L4", "cpus": "4+", "memory": 32, "autostop": False, "image_id": "x"}},
    {"resources": {"accelerators": {"H100": 8, "A100": None}, "disk_size": "1TB", "use_spot": True}},
    {"resources": {"accelerators": ["H100:8"], "autostop": {"idle_minutes": 5, "down": True}}},
    {"resources": {"any_of": [{"gpu": "L4"}, {"region": "r", "max_hourly_cost": 2}]}},
    {"resources": None},
]
BAD = [
    {"nam": "x"}, {"name": "a b"}, {"num_nodes": 0}, {"num_nodes": "2"}, {"launcher": "mpi"}, {"run": ["a"]},
    {"max_duration": 90}, {"outputs": "runs"}, {"outputs": {"a": "b"}}, {"envs": {"1A": "x"}},
    {"resources": {"autostop": 10}}, {"resources": {"autostop": {"idle_minutes": 10}}},
    {"resources": {"foo": 1}},
    {"resources": {"accelerators": []}}, {"resources": {"any_of": [{"autostop": False}]}}, {"resources": "x"},
    {"max_cost": 0}, {"resources": {"use_spot": "yes"}}, {"file_mounts": {"~/x": {"source": "s3://x"}}},
]  # fmt: skip


@pytest.mark.parametrize("task", GOOD, ids=str)
def test_the_schema_admits_what_the_models_admit(task):
    """No editor underlines a file that runs."""
    assert _accepts(SCHEMA, task)
    Task(**task)


@pytest.mark.parametrize("task", BAD, ids=str)
def test_the_schema_refuses_these_as_the_models_do(task):
    """The editor shows the mistake before the command line does."""
    assert not _accepts(SCHEMA, task)
    with pytest.raises(SpecError):
        Task(**task)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2000),
    st.sampled_from(["x", "L4:2", "4+", "6h", "fake", "torchrun", ""]),
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(SCHEMA["properties"])), VALUES | st.lists(VALUES, max_size=2), max_size=4
    )
)
def test_what_the_models_admit_the_schema_admits(task):
    """For any mixture: an editor is never stricter than the command line."""
    try:
        Task(**task)
    except SpecError:
        return

    assert _accepts(SCHEMA, task)
