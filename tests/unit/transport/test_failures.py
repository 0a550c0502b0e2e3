"""What ssh says becomes the error that tells what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuforge.errors import AuthError, ConnectError, HostKeyError
from gpuforge.models.instance import HostKey, Route
from gpuforge.transport.base import Endpoint
from gpuforge.transport.failures import classify, place
from gpuforge.transport.keys import fingerprint

_KEY = HostKey(
    kind="ssh-ed25519", blob="AAAAC3NzaC1lZDI1NTE5AAAAIKnvJlVDoLTDjk2gYqPU3tCwQY0VQhJB0sRzvXnNtsW0"
)
_ENDPOINT = Endpoint(
    name="gf-x-0",
    alias="fake.1",
    route=Route(host="127.0.0.1", port=2222, user="ubuntu"),
    host_key=_KEY,
    folder=Path("/nowhere"),
)
_CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
The fingerprint for the ED25519 key sent by the remote host is\r
SHA256:qmCQ4tDNZVJYnJ2jjrlhnsYQVEkNYBpFEKfGQZaVyhI.\r
Host key verification failed.\r
"""


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (_CHANGED, HostKeyError),
        ("No ED25519 host key is known for fake.1 and you have requested strict checking.", HostKeyError),
        (
            "Unable to negotiate with ::1: no matching host key type found. Their offer: rsa",
            HostKeyError,
        ),
        ("ssh_dispatch_run_fatal: Connection to 127.0.0.1 port 1: incorrect signature", HostKeyError),
        ("ubuntu@127.0.0.1: Permission denied (publickey).", AuthError),
        ("Received disconnect from ::1 port 1:2: Too many authentication failures", AuthError),
        ("ssh: connect to host 127.0.0.1 port 1: Connection refused", ConnectError),
        ("Connection timed out during banner exchange", ConnectError),
        ("/bin/sh: 1: gcloud: Permission denied", ConnectError),
        ("", ConnectError),
    ],
)
def test_each_message_has_its_kind(said, kind):
    """The words stay in the details."""
    error = classify(_ENDPOINT, said)
    assert type(error) is kind
    assert place(_ENDPOINT) in error.brief
    assert error.resolution
    if kind is not HostKeyError:
        assert error.details == said


def test_a_changed_key_shows_both_fingerprints():
    """Expected and offered, and that nothing was sent."""
    error = classify(_ENDPOINT, _CHANGED)
    assert fingerprint(_KEY) in error.details
    assert "SHA256:qmCQ4tDNZVJYnJ2jjrlhnsYQVEkNYBpFEKfGQZaVyhI" in error.details
    assert "nothing was sent" in error.brief
