"""The border of ``fake``: every code becomes one kind, every state one of ours, host keys are strict."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge import errors
from gpuforge.errors import GpuforgeError, ProviderError
from gpuforge.models.instance import InstanceRef, InstanceState
from gpuforge.providers.fake import convert
from gpuforge.simcloud.instances import Ending, InstanceRow, Status
from gpuforge.simcloud.refusals import Code, SimError

_BLOB = base64.b64encode(b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + b"k" * 32).decode()
_ROW = InstanceRow(
    id="1000000000000000007",
    name="gf-a-0-1",
    zone="sim-central1-a",
    region="sim-central1",
    instance_type="sim-l4",
    capacity_type="spot",
    image="common-cpu",
    disk_gib=50,
    user="ubuntu",
    ssh_server="asyncssh",
    owner="ann",
    labels={"gf-owner": "ann"},
    machines="none",
    status=Status.RUNNING,
    reason="",
    created=1_767_225_600.0,
    deadline=1_767_229_200.0,
    ended=None,
    host="127.3.4.2",
    port=2222,
    ready_at=None,
    create_operation="operation-1-create",
    ending=None,
    notice_at=None,
    preempt_at=None,
    reboot_count=0,
)


def test_every_code_has_a_kind_of_its_own():
    assert set(convert.KINDS) == set(Code)
    assert len(set(convert.KINDS.values())) == len(Code)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.CAPACITY, errors.CapacityError),
        (Code.QUOTA, errors.QuotaError),
        (Code.RATE_LIMIT, errors.RateLimitError),
        (Code.UNAVAILABLE, errors.ProviderUnavailableError),
        (Code.CREDENTIALS, errors.CredentialsError),
        (Code.PERMISSION, errors.PermissionDeniedError),
        (Code.INVALID, errors.InvalidRequestError),
        (Code.NOT_FOUND, errors.NotFoundError),
        (Code.CONFLICT, errors.ConflictError),
        (Code.INTERNAL, errors.ProviderError),
    ],
)
def test_an_error_crosses_the_border_as_its_kind_with_its_words(code, kind):
    def fail():
        with convert.errors_mapped():
            raise SimError(code, "it; 'fails' ü", hint="try this")

    with pytest.raises(ProviderError) as caught:
        fail()
    assert type(caught.value) is kind
    assert caught.value.brief == "it; 'fails' ü"
    assert caught.value.details == "try this"
    assert isinstance(caught.value.__cause__, SimError)


def test_what_is_not_the_clouds_error_passes_unchanged():
    with pytest.raises(KeyError), convert.errors_mapped():
        raise KeyError("x")


@pytest.mark.parametrize(
    ("status", "ending", "expected"),
    [
        (Status.PROVISIONING, None, InstanceState.PENDING),
        (Status.RUNNING, None, InstanceState.RUNNING),
        (Status.STOPPING, Ending.DELETE, InstanceState.DELETING),
        (Status.STOPPING, Ending.DEADLINE, InstanceState.DELETING),
        (Status.STOPPING, Ending.PREEMPTED, InstanceState.STOPPING),
        (Status.TERMINATED, None, InstanceState.STOPPED),
        (Status.DELETED, Ending.DELETE, InstanceState.GONE),
    ],
)
def test_every_word_of_the_cloud_has_one_of_ours(status, ending, expected):
    assert convert.state(replace(_ROW, status=status, ending=ending)) is expected


def test_an_instance_carries_its_id_its_place_and_its_deadline():
    instance = convert.instance(_ROW)
    assert instance.ref == InstanceRef(
        provider="fake",
        region="sim-central1",
        zone="sim-central1-a",
        name="gf-a-0-1",
        instance_id="1000000000000000007",
    )
    assert instance.deadline == datetime(2026, 1, 1, 1, tzinfo=UTC)
    assert instance.addresses == ("127.3.4.2",)
    assert instance.capacity_type == "spot"


def test_an_instance_that_has_not_run_yet_shows_no_address():
    assert convert.instance(replace(_ROW, status=Status.PROVISIONING)).addresses == ()


def test_what_the_cloud_does_not_know_is_gone():
    ref = convert.instance(_ROW).ref
    lost = convert.lost(ref, datetime(2026, 1, 1, tzinfo=UTC))
    assert (lost.ref, lost.state) == (ref, InstanceState.GONE)
    assert lost.reason


def test_nothing_published_is_not_yet():
    assert convert.host_keys({"other": _BLOB}) is None


@pytest.mark.parametrize("text", [_BLOB, f"ssh-ed25519 {_BLOB}", f"  {_BLOB} root@host\nmore", f"{_BLOB}\n"])
def test_a_host_key_is_cut_at_white_space(text):
    (key,) = convert.host_keys({"hostkeys/ssh-ed25519": text})
    assert str(key) == f"ssh-ed25519 {_BLOB}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "AAAA",
        f"{_BLOB[:-4]}",
        f"{_BLOB}AAAA",
        f"!{_BLOB}",
        "ssh-rsa " + base64.b64encode(b"\x00\x00\x00\x07ssh-rsa" + b"k" * 40).decode(),
        base64.b64encode(b"\x00\x00\x00\x0bssh-ed25518\x00\x00\x00\x20" + b"k" * 32).decode(),
        "* ssh-ed25519 é",
    ],
)
def test_anything_else_under_that_name_is_an_error_and_no_key(text):
    with pytest.raises(ProviderError, match="host key that is none") as caught:
        convert.host_keys({"hostkeys/ssh-ed25519": text})
    assert "nothing was sent" in caught.value.resolution


@given(st.text(max_size=120))
def test_no_text_of_a_guest_gives_anything_but_a_key_or_a_typed_error(text):
    try:
        keys = convert.host_keys({"hostkeys/ssh-ed25519": text})
    except GpuforgeError:
        return
    (key,) = keys
    assert len(base64.b64decode(key.blob, validate=True)) == 51
