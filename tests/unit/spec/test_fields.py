"""The remaining values of a task: names, places, images, labels, numbers, spans, money, scripts."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from gpuforge.errors import SpecError
from gpuforge.spec.task import Task

GOOD = [
    ("name: my-task_1.x", "name", "my-task_1.x"),
    ("name: 2026", "name", "2026"),
    ("num_nodes: 3", "num_nodes", 3),
    ("nodes: 1000", "num_nodes", 1000),
    ("max_duration: 1d2h", "max_duration", timedelta(hours=26)),
    ("max_cost: 3.10", "max_cost", Decimal("3.10")),
    ("max_cost: 400", "max_cost", Decimal(400)),
    ('max_cost: "12.50"', "max_cost", Decimal("12.50")),
    ("launcher: torchrun", "launcher", "torchrun"),
    ("run: 5", "run", "5"),
    ("run: |\n  a\n  b", "run", "a\nb"),
    ("setup: 'x: y'", "setup", "x: y"),
    ("labels: {team: vision, cost-centre: 42}", "labels", {"team": "vision", "cost-centre": "42"}),
    ("region: sim-central1", "region", "sim-central1"),
    ("cloud: FAKE", "provider", "fake"),
    ("infra: fake/r/z", "provider", "fake"),
    ("infra: '*'", "provider", None),
    ("run:", "run", ""),
    ("num_nodes:", "num_nodes", 1),
]


@pytest.mark.parametrize(("text", "name", "value"), GOOD, ids=[text for text, _, _ in GOOD])
def test_values_are_read(load, text, name, value):
    """A key with nothing after it is as absent."""
    assert getattr(load(text), name) == value


BAD = [
    ("name: my task", "1:7", "cannot be a name"),
    ("name: 010", "1:7", "YAML reads it as 8"),
    ("name: [a]", "1:7", "a list is not text"),
    ("num_nodes: 0", "1:12", "from 1 to 1000"),
    ("num_nodes: 1001", "1:12", "from 1 to 1000"),
    ("num_nodes: '2'", "1:12", "is not a whole number"),
    ("num_nodes: 2.0", "1:12", "is not a whole number"),
    ("num_nodes: 010", "1:12", "YAML reads 010 as 8"),
    ("num_nodes: yes", "1:12", "is not a whole number"),
    ("max_duration: 90", "1:15", 'write "90m" for minutes or "90h" for hours'),
    ("max_duration: 12:30:45", "1:15", "is not a span of time"),
    ("max_duration: off", "1:15", "a machine always has a deadline"),
    ("max_duration: forever", "1:15", "is not a span of time"),
    ("max_duration: {hours: 1}", "1:15", "a map is not text"),
    ("max_cost: 0", "1:11", "write US dollars above 0"),
    ("max_cost: $5", "1:11", "write US dollars above 0"),
    ("max_cost: -1", "1:11", "write US dollars above 0"),
    ("max_cost: .inf", "1:11", "write US dollars above 0"),
    ("launcher: torchrn", "1:11", 'did you mean "torchrun"?'),
    ("launcher: mpi", "1:11", "write plain or torchrun"),
    ("run: [a, b]", "1:6", "commands are one text, not a list"),
    ('run: "a\\0b"', "1:6", "a zero byte"),
    ("run: yes", "1:6", "quote it"),
    ("labels: x", "1:9", "is not a map of labels"),
    ("labels: {Team: x}", "1:10", "cannot be a label"),
    ("labels: {team: A b}", "1:16", "cannot be a label's value"),
    ("labels: {gf-owner: x}", "1:10", "gpuforge's own"),
    ("labels: {a: yes}", "1:13", "quote it"),
    ("labels: {a: }", "1:10", "nothing is not text"),
    ("infra: azure/westeurope", "1:8", 'provider "azure" is not available; this installation has: fake'),
    ("infra: kubernetes/a/b/c/d", "1:8", 'provider "kubernetes" is not available'),
    ("infra: ssh/my-node", "1:8", 'provider "ssh" is not available'),
    ("infra: slurm", "1:8", 'provider "slurm" is not available'),
    ("cloud: lambda", "1:8", 'provider "lambda" is not available'),
    ("infra: fake/r/z/x", "1:8", "write provider, provider/region or provider/region/zone"),
    ("infra: 'a b'", "1:8", "is not a provider's name"),
    ("region: a b", "1:9", "write one word"),
    ("resources: {image: 'docker:x'}", "1:20", "containers are not in this version"),
    ("resources: {image_id: 'skypilot:gpu'}", "1:23", "an image built by SkyPilot"),
    ("resources: {image_id: {us: x}}", "1:23", "an image per region is not in this version"),
    ("resources: {use_spot: 'true'}", "1:23", "neither true nor false"),
    ("resources: {cpus: 010}", "1:19", "is not a number of vCPUs"),
    ("resources: {cpus: yes}", "1:19", "quote it"),
    ("resources: {memory: 4x}", "1:21", "multiples of the vCPUs"),
    ("resources: {disk_size: 0}", "1:24", "write whole GB"),
    ("resources: {max_hourly_cost: free}", "1:30", "write US dollars"),
    ("resources: x", "1:12", '"x" stands where a map of keys is expected'),
    ("resources: [x]", "1:12", "a list stands where a map of keys is expected"),
    ("resources: {any_of: x}", "1:21", '"x" stands where a list is expected'),
    ("resources: {any_of: [x]}", "1:22", '"x" stands where a map of keys is expected'),
    ("resources: {any_of: []}", "1:21", "no alternative is listed here"),
]


@pytest.mark.parametrize(("text", "where", "says"), BAD, ids=[text for text, _, _ in BAD])
def test_other_values_are_refused_at_their_place(refused, text, where, says):
    """With what to write instead."""
    found = refused(f"{text}\n")

    assert list(found) == [where]
    assert says in found[where]


def test_an_installation_without_providers_says_so(refused):
    """Rather than an empty list."""
    assert refused("infra: fake\n", known=()) == {
        "1:8": 'provider "fake" is not available; this installation has: none'
    }


def test_any_provider_goes_when_none_are_known(load):
    """The registry is asked later then."""
    assert load("infra: nebius/eu\n", known=None).provider == "nebius"


@pytest.mark.parametrize(
    ("span", "ok"),
    [
        (timedelta(hours=6), True),
        (timedelta(days=121), False),
        (timedelta(0), False),
        (timedelta(microseconds=5), False),
    ],
)
def test_python_spans(span, ok):
    """The limits are the same as in a file."""
    if ok:
        assert Task(max_duration=span).max_duration == span
    else:
        with pytest.raises(SpecError):
            Task(max_duration=span)
