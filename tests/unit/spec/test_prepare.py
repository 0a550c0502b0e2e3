"""One name per key, and keys that do not go together."""

from __future__ import annotations

import pytest

from gpuforge.spec.mistakes import Origins
from gpuforge.spec.prepare import canonical, clashes


def test_aliases_become_the_one_name_and_keep_their_place(load):
    """A mistake about a canonical key points at what the user wrote."""
    task = load("env: {A: b}\nnodes: 2\nresources:\n  gpus: L4\n  image_id: x\n  any_of: [{gpu: T4}]\n")

    assert (task.envs, task.num_nodes, task.resources.image) == ({"A": "b"}, 2, "x")
    assert str(task.mark("num_nodes")) == "gpuforge.yaml:2:8"
    assert str(task.mark("resources.accelerators")) == "gpuforge.yaml:4:9"
    assert str(task.mark("resources.any_of.0.accelerators")) == "gpuforge.yaml:6:18"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("envs: {A: b}\nenv: {A: b}\n", "2:1"),
        ("nodes: 1\nnum_nodes: 1\n", "1:1"),
        ("resources: {gpus: L4, accelerators: L4}\n", "1:13"),
        ("resources: {gpu: L4, gpus: L4}\n", "1:22"),
        ("resources: {image: x, image_id: x}\n", "1:23"),
        ("resources: {ordered: [{gpus: L4, gpu: L4}]}\n", "1:34"),
    ],
)
def test_two_names_of_one_key_are_refused(refused, text, where):
    """Even when they agree."""
    found = refused(text)

    assert list(found) == [where]
    assert "are the same; remove one" in found[where]


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("infra: fake\nregion: r\n", "2:1", '"infra" says the whole place; remove "region"'),
        ("infra: fake\ncloud: fake\nzone: z\n", "2:1", 'remove "cloud" or "zone"'),
        ("resources: {infra: fake, region: r}\n", "1:26", '"infra" says the whole place'),
        ("resources: {any_of: [{infra: fake, zone: z}]}\n", "1:36", '"infra" says the whole place'),
        ("region: r\nresources: {region: r}\n", "2:13", 'stands at the top and under "resources"'),
        ("infra: fake\nresources: {zone: z}\n", "2:13", '"infra" at the top says the whole place'),
        (
            "zone: z\nresources: {infra: fake}\n",
            "2:13",
            '"infra" says the whole place; remove "zone" at the top',
        ),
        ("resources: {any_of: [{cpus: 4}], ordered: [{cpus: 4}]}\n", "1:34", "exclude each other"),
        ("labels: {a: b}\nresources: {labels: {a: c}}\n", "2:22", 'stands in "labels" too'),
    ],
)
def test_keys_that_exclude_each_other(refused, text, where, says):
    """Each is fine alone."""
    found = refused(text)

    assert list(found) == [where]
    assert says in found[where]


def test_a_task_rents_from_one_provider(refused):
    """Alternatives may differ in place, not in provider."""
    found = refused(
        "infra: fake\nresources: {any_of: [{cloud: other}, {infra: fake/r}]}\n", known=("fake", "other")
    )

    assert found == {"2:22": 'one task rents from one provider in this version; keep "fake" or "other"'}


def test_clashes_are_found_beside_other_mistakes(refused):
    """All of a file's mistakes come in one go."""
    found = refused(
        "infra: fake\nregion: r\nnum_nodes: x\nfoo: 1\nenvs: {A: }\nsecrets: {A: }\nenv: {}\n"
        "resources: {cpus: [}\n"
        .replace("[}", "x}")
    )  # fmt: skip

    assert sorted(found) == ["2:1", "3:12", "4:1", "5:8", "6:11", "7:1", "8:19"]


def test_labels_under_resources_are_the_tasks_own(load):
    """There is one set of instances to put them on."""
    task = load("labels: {a: b}\nresources: {labels: {c: d}}\n")

    assert task.labels == {"a": "b", "c": "d"}
    assert str(task.mark("labels.c")) == "gpuforge.yaml:2:25"


@pytest.mark.parametrize("key", ["labels", "envs", "secrets", "resources", "infra", "any_of"])
@pytest.mark.parametrize(
    "value", [None, 5, "x", [1], {"a": 1}, [[]], {"any_of": 5, "labels": 5, "infra": []}]
)
def test_no_shape_makes_preparing_fail(key, value):
    """Wrong shapes are validation's business, and it sees them all."""
    prepared, refusals = canonical({key: value, "resources": {key: value}}, Origins())

    assert all(refusal.message for refusal in [*refusals, *clashes(prepared)])
