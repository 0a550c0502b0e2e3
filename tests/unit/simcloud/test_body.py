"""The create request: canonical bytes, strict reading, and nothing without a way to end."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.simcloud.body import CreateBody
from gpuforge.simcloud.refusals import Code, SimError

_LABELS = {
    "gf-owner": "ann ü\n;'\"",
    "gf-journal": "j",
    "gf-cluster": "c",
    "gf-intent": "1-a",
    "gf-deadline": "1",
}


def _body(**changes):
    fields = {
        "names": ("gf-a-0-1", "gf-a-1-1"),
        "zone": "sim-central1-a",
        "instance_type": "sim-l4",
        "capacity_type": "spot",
        "image": "common-cpu",
        "disk_gib": 50,
        "deadline": datetime(2026, 1, 2, tzinfo=UTC),
        "labels": _LABELS,
        "user": "ubuntu",
        "ssh_keys": ("ubuntu:ssh-ed25519 AAAA",),
        "metadata": {},
    }
    return CreateBody(**{**fields, **changes})


def _changed(**changes):
    document = json.loads(_body().to_bytes())
    for key, value in changes.items():
        if value is ...:
            del document[key]
        else:
            document[key] = value
    return json.dumps(document).encode()


def test_what_is_written_is_read_back():
    assert CreateBody.from_bytes(_body().to_bytes()) == _body()


def test_the_order_of_labels_does_not_change_the_bytes():
    turned = dict(reversed(_LABELS.items()))
    assert _body(labels=turned).to_bytes() == _body().to_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"deadline": ...}, "nothing would ever end"),
        ({"deadline": ""}, "nothing would ever end"),
        ({"deadline": "tomorrow"}, "RFC 3339"),
        ({"deadline": "2026-01-02T00:00:00"}, "time zone"),
        ({"names": []}, "at least one"),
        ({"names": ["gf-a", "gf-a"]}, "twice"),
        ({"names": ["gf a;\n"]}, "cannot be the name"),
        ({"names": ["Gf-ü"]}, "cannot be the name"),
        ({"names": ["a" * 64]}, "cannot be the name"),
        ({"names": [f"n{i}" for i in range(5001)]}, "at most 5000"),
        ({"names": [7]}, "texts"),
        ({"names": "gf-a"}, "names has the wrong type"),
        ({"labels": {**_LABELS, "gf-owner": ""}}, "lacks the labels gf-owner"),
        ({"labels": {}}, "gf-owner, gf-journal, gf-cluster, gf-intent, gf-deadline"),
        ({"labels": {**_LABELS, "x": 1}}, "texts"),
        ({"disk": {"auto_delete": False, "size_gib": 50}}, "auto_delete"),
        ({"disk": {"auto_delete": True, "size_gib": 0}}, "at least 1 GiB"),
        ({"disk": {"auto_delete": True, "size_gib": True}}, "wrong type"),
        ({"disk": {"size_gib": 50}}, "missing fields: auto_delete"),
        ({"capacity_type": "reserved"}, "no capacity type 'reserved'"),
        ({"termination_action": "KEEP"}, "no such action"),
        ({"zone": ...}, "missing fields: zone"),
        ({"zoen": "x"}, "unknown fields: zoen"),
    ],
)
def test_a_request_that_is_wrong_is_invalid_and_says_why(changes, words):
    with pytest.raises(SimError, match=words) as caught:
        CreateBody.from_bytes(_changed(**changes))
    assert caught.value.code is Code.INVALID


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_any_bytes_give_a_typed_error(data):
    with pytest.raises(SimError):
        CreateBody.from_bytes(data)
