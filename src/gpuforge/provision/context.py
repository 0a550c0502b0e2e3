"""What every step of provisioning is handed, and the two ways it calls the cloud: again, and its time."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

from gpuforge._version import __version__
from gpuforge.errors import PolicyError, ProviderUnavailableError, RateLimitError
from gpuforge.models.clock import rfc3339
from gpuforge.models.instance import Selector
from gpuforge.models.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gpuforge.models.clock import Clock
    from gpuforge.models.progress import Progress
    from gpuforge.providers.base import Provider
    from gpuforge.state.journal import Journal
    from gpuforge.state.paths import Paths
    from gpuforge.transport.base import Endpoint

__all__ = ["Context", "Limits", "again", "check_clock", "lease_body"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long each wait lasts at most, in seconds; every retry has a deadline.

    Attributes:
        call: The same call repeated while the cloud is unavailable or limits the rate.
        operation: From the accepted create to every instance running.
        boot: From running to published host keys and an address.
        login: From there to the first login on every node.
        delete: From the accepted delete to the cloud's word that it is done.
        clock: How far the local clock may stand from the cloud's.
        horizon: Younger machines are not judged by a sweep: another command may be at work on them.
        lateness: How late the cloud may act on a deadline (protocol: 30 s and 120 s of shutdown).
    """

    call: float = 120
    operation: float = 600
    boot: float = 180
    login: float = 120
    delete: float = 300
    clock: float = 60
    horizon: float = 600
    lateness: float = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The world of provisioning, as values.

    Attributes:
        owner: Label ``gf-owner`` of everything created; nothing with another owner is touched.
        login: Logs in to a node once and leaves; the transport's unless a test brings its own.
        engine: Which SSH engine the transport uses.
        heartbeat_seconds: Between two heartbeats of a node's watcher.
        entropy: Random bytes for ids.
        user: Login name on the instances.
    """

    provider: Provider
    journal: Journal
    paths: Paths
    clock: Clock
    owner: str
    progress: Progress = silent
    login: Callable[[Endpoint], None] | None = None
    engine: Literal["auto", "openssh", "paramiko"] = "auto"
    heartbeat_seconds: int = 30
    entropy: Callable[[int], bytes] = os.urandom
    user: str = "ubuntu"
    limits: Limits = field(default_factory=Limits)

    def after(self, seconds: float) -> datetime:
        """A moment ``seconds`` from now, by the local clock."""
        return self.clock.now() + timedelta(seconds=seconds)


def again(context: Context, call: Callable[[], T], *, seconds: float) -> T:
    """The same call until the cloud answers, with growing pauses, for at most ``seconds``.

    Raises:
        RateLimitError, ProviderUnavailableError: It did not answer in time; its fate is unknown.
    """
    limit = context.clock.monotonic() + seconds
    pause = 0.25
    while True:
        try:
            return call()
        except (RateLimitError, ProviderUnavailableError):
            left = limit - context.clock.monotonic()
            if left <= 0:
                raise
            context.clock.sleep(min(pause, left))
            pause = min(pause * 2, 8.0)


def check_clock(context: Context) -> datetime:
    """The cloud's own time; deadlines are computed from it.

    Raises:
        PolicyError: The local clock stands too far from it to be trusted.
    """
    selector = Selector(owner=context.owner)
    server_time = again(
        context, lambda: context.provider.list(selector).server_time, seconds=context.limits.call
    )
    now = context.clock.now()
    skew = (now - server_time).total_seconds()
    if abs(skew) > context.limits.clock:
        side = "ahead of" if skew > 0 else "behind"
        raise PolicyError(
            f"this computer's clock is {abs(skew):.0f} s {side} the cloud's",
            details=f"here it is {rfc3339(now)}, there {rfc3339(server_time)}\n"
            f"at most {context.limits.clock:.0f} s is accepted, since deadlines end machines",
            resolution="set the clock (on Linux: timedatectl set-ntp true) and repeat the command",
        )
    return server_time


def lease_body(verb: str, name: str) -> dict[str, str | int]:
    """Who begins this epoch, for the audit: account, computer, process, version."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = str(os.getuid())
    return {
        "verb": verb,
        "name": name,
        "who": f"{account}@{socket.gethostname()}",
        "pid": os.getpid(),
        "command": os.path.basename(sys.argv[0]),  # noqa: PTH119 - the name alone; arguments may hold secrets
        "version": __version__,
    }
