"""From a request to the bytes of a create: pure, complete, and refused when something is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gpuforge.errors import InvalidRequestError
from gpuforge.models.instance import InstanceRequest
from gpuforge.providers.fake.requests import prepare
from gpuforge.simcloud.body import CreateBody
from gpuforge.simcloud.profile import load_profile

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq1Qn1bH0tTqmB5uXwDqYc1mI0c0YqjUj3dS2bZ8kR me@here"


@pytest.fixture
def request_():
    profile = load_profile()
    return InstanceRequest(
        names=("gf-abc-0-1", "gf-abc-1-1"),
        offering=next(x for x in profile.offerings if x.instance_type == "sim-l4"),
        image=profile.images[0],
        disk_gib=60,
        deadline=datetime(2026, 1, 1, 6, 0, 0, 900_000, tzinfo=UTC),
        labels={
            "gf-owner": "ann",
            "gf-journal": "j",
            "gf-cluster": "c ü;'\n",
            "gf-intent": "1-a",
            "gf-epoch": "1",
            "gf-deadline": "1767247200",
        },
        ssh_public_key=_KEY + "\n",
    )


def test_the_body_says_all_that_was_asked_and_that_nothing_outlives_it(request_):
    prepared = prepare(request_, provider="fake")
    assert json.loads(prepared.body) == {
        "capacity_type": "on_demand",
        "deadline": "2026-01-01T06:00:00Z",
        "disk": {"auto_delete": True, "size_gib": 60},
        "image": "pytorch-2-9-cu129",
        "instance_type": "sim-l4",
        "labels": dict(request_.labels),
        "metadata": {"enable-guest-attributes": "TRUE"},
        "names": ["gf-abc-0-1", "gf-abc-1-1"],
        "ssh_keys": [f"ubuntu:{_KEY}"],
        "termination_action": "DELETE",
        "user": "ubuntu",
        "zone": "sim-central1-a",
    }
    assert (prepared.provider, prepared.region, prepared.zone) == ("fake", "sim-central1", "sim-central1-a")
    assert (prepared.names, prepared.deadline) == (request_.names, request_.deadline)


def test_the_cloud_reads_what_was_prepared(request_):
    assert CreateBody.from_bytes(prepare(request_, provider="fake").body).names == request_.names


@pytest.mark.parametrize(
    "changes",
    [
        {"disk_gib": 61},
        {"names": ("gf-abc-0-2", "gf-abc-1-2")},
        {"deadline": datetime(2026, 1, 1, 7, tzinfo=UTC)},
        {"user": "root"},
    ],
)
def test_another_request_has_another_token(request_, changes):
    first = prepare(request_, provider="fake")
    assert prepare(request_, provider="fake") == first
    assert prepare(replace(request_, **changes), provider="fake").token != first.token


def test_one_moment_in_two_time_zones_is_one_request(request_):
    from datetime import timezone  # noqa: PLC0415 - only here

    elsewhere = request_.deadline.astimezone(timezone(timedelta(hours=5)))
    moved = prepare(replace(request_, deadline=elsewhere), provider="fake")
    assert moved.body == prepare(request_, provider="fake").body


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": ()}, "names no instance"),
        ({"deadline": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the point
        ({"labels": {}}, "gf-owner, gf-journal"),
        ({"ssh_public_key": ""}, "no public key"),
        ({"ssh_public_key": f"{_KEY}\n{_KEY}"}, "no public key"),
        ({"ssh_public_key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "no public key"),
        ({"user": ""}, "its user"),
        ({"user": "a:b"}, "its user"),
    ],
)
def test_an_incomplete_request_is_refused_before_anything_is_sent(request_, changes, words):
    with pytest.raises(InvalidRequestError) as caught:
        prepare(replace(request_, **changes), provider="fake")
    assert words in caught.value.details
    assert "nothing was sent" in caught.value.resolution
