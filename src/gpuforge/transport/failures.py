"""What the ``ssh`` program said, as an error that tells the caller what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpuforge.errors import AuthError, ConnectError, HostKeyError, TransportError
from gpuforge.transport.keys import fingerprint

if TYPE_CHECKING:
    from gpuforge.transport.base import Endpoint

__all__ = ["auth_error", "classify", "connect_error", "host_key_error", "place"]

# OpenSSH 8.0 to 10.0, client side; all of them come before any authentication request
_WRONG_HOST_KEY = (
    "remote host identification has changed",
    "host key verification failed",
    "host key is known for",  # "No ED25519 host key is known for … and you have requested strict checking"
    "no matching host key type found",
    "incorrect signature",  # a server that shows the right key without owning it
    "revoked host key",
)
_REFUSED_KEY = (
    "permission denied (",
    "too many authentication failures",
    "no supported authentication methods",
)
_OFFERED = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_LONGEST = 2000


def place(endpoint: Endpoint) -> str:
    """The node as errors name it."""
    route = endpoint.route
    return f"{endpoint.name} ({route.user}@{route.host}:{route.port})"


def classify(endpoint: Endpoint, said: str) -> TransportError:
    """The error for what ``ssh`` wrote before it gave up with 255."""
    words = "\n".join(line.strip() for line in said.splitlines() if line.strip())[-_LONGEST:]
    low = words.lower()
    if any(sign in low for sign in _WRONG_HOST_KEY):
        offered = _OFFERED.search(words)
        return host_key_error(endpoint, offered.group() if offered else "")
    if any(sign in low for sign in _REFUSED_KEY):
        return auth_error(endpoint, words)
    return connect_error(endpoint, words)


def host_key_error(endpoint: Endpoint, offered: str) -> HostKeyError:
    """The node showed another key than its cloud reported; ``offered`` is its fingerprint, or empty."""
    return HostKeyError(
        f"{place(endpoint)} is not the machine {endpoint.alias}; nothing was sent",
        details=(
            f"its cloud reported host key {fingerprint(endpoint.host_key)}\n"
            f"the node offered {offered or 'no key of kind ssh-ed25519 that it owns'}"
        ),
        resolution="look the machine up at your cloud, remove it with `gpuforge down`, and start a new one",
    )


def auth_error(endpoint: Endpoint, details: str) -> AuthError:
    """The node refused the cluster's key."""
    return AuthError(
        f"{place(endpoint)} refused the cluster's key",
        details=details,
        resolution=f"check that the public key in {endpoint.folder} is the one the machine was created with",
    )


def connect_error(endpoint: Endpoint, details: str) -> ConnectError:
    """The node could not be reached, or the connection broke."""
    return ConnectError(
        f"no connection to {place(endpoint)}",
        details=details,
        resolution="see with `gpuforge status` whether the machine still runs",
    )
