"""Readiness: a state machine that can always say what it waits for and, at its deadline, why it failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gpuforge.errors import (
    Attempt,
    AuthError,
    ConnectError,
    HostKeyError,
    NotFoundError,
    ProviderError,
    ProviderUnavailableError,
    ProvisionError,
    RateLimitError,
)
from gpuforge.models.cluster import Node
from gpuforge.models.ids import rank_of
from gpuforge.models.instance import InstanceState
from gpuforge.models.progress import Step
from gpuforge.provision.bootstrap import login, node_endpoint
from gpuforge.transport.fanout import each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpuforge.models.instance import BootReport, HostKey, Instance, InstanceRef
    from gpuforge.provision.context import Context
    from gpuforge.transport.base import Endpoint

__all__ = ["Ready", "Waiting", "assess", "wait_ready", "wait_running"]

_LOST = frozenset({InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.DELETING, InstanceState.GONE})


class Waiting(StrEnum):
    """What a node is waiting for, in the user's words."""

    OPERATION = "the cloud's operation"
    BOOT = "the machine to boot"
    HOST_KEY = "the host key"
    ADDRESS = "an address"
    PORT = "the SSH port"
    LOGIN = "the first login"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The nodes of a gang that answered, and how many processes a launcher starts on each."""

    nodes: tuple[Node, ...]
    capped_ranks: int | None


def assess(report: BootReport) -> Waiting | None:
    """What a booting node still lacks before one can log in; None when nothing.

    Raises:
        ProviderError: It will never be ready: it went away.
    """
    instance = report.instance
    if instance.state in _LOST:
        why = f": {instance.reason}" if instance.reason else ""
        raise ProviderError(f"{instance.ref.name} went to {instance.state} while it booted{why}")
    if instance.state is InstanceState.PENDING:
        return Waiting.BOOT
    if report.host_keys is None:
        return Waiting.HOST_KEY
    return Waiting.ADDRESS if report.route is None else None


def wait_running(context: Context, refs: Sequence[InstanceRef]) -> tuple[Instance, ...]:
    """Wait for the create's operation, on the cloud's side.

    Raises:
        CapacityError, QuotaError: It ended so.
        ProviderError: It failed otherwise.
        ProvisionError: It did not end in time.
    """
    # by the clock that stands still while a laptop sleeps: the cloud did not, and may be done by then
    limit = context.clock.monotonic() + context.limits.operation
    text = f"{_who(refs)}  waiting for {Waiting.OPERATION}"
    context.progress(Step(key="instance", text=text, deadline=context.after(context.limits.operation)))
    pause = 0.25
    while True:
        left = limit - context.clock.monotonic()
        try:
            return context.provider.wait(refs, InstanceState.RUNNING, context.after(left))
        except (RateLimitError, ProviderUnavailableError) as error:
            if context.clock.monotonic() >= limit:
                raise _timed_out(context, refs[0], Waiting.OPERATION, str(error)) from error
            context.clock.sleep(pause)
            pause = min(pause * 2, 8.0)


def wait_ready(context: Context, name: str, instances: Sequence[Instance]) -> Ready:
    """Wait for host keys and addresses, pin the keys by instance id, and log in to every node once.

    Raises:
        ProviderError: A node went away.
        ProvisionError: A node was not ready in time; says which step, why, and the console's last lines.
        HostKeyError: A node is not who its cloud says; never tried again.
    """
    from gpuforge.transport.files import write_cluster_files  # noqa: PLC0415 - start-up cost

    reports = _boot(context, [instance.ref for instance in instances])
    nodes = tuple(map(_node, reports))
    folder = context.paths.cluster(name)
    endpoints = [node_endpoint(node, folder) for node in nodes]
    # `ssh -F … train` is the head, `train-1` a node
    friendly = {n.ref.name: (f"{name}-{n.rank}", *((name,) if n.rank == 0 else ())) for n in nodes}
    write_cluster_files(folder, endpoints, control_dir=context.paths.sockets, names=friendly)
    _login_all(context, nodes, endpoints)
    caps = [report.capped_gpus for report in reports if report.capped_gpus is not None]
    return Ready(nodes=nodes, capped_ranks=min(caps, default=None))


def _boot(context: Context, refs: Sequence[InstanceRef]) -> list[BootReport]:
    limit = context.clock.monotonic() + context.limits.boot
    until = context.after(context.limits.boot)
    reports: dict[InstanceRef, BootReport] = {}
    pause = 0.05
    while True:
        missing: dict[InstanceRef, Waiting] = {}
        for ref in refs:
            if ref in reports:
                continue
            report = _report(context, ref)
            lacks = Waiting.BOOT if report is None else assess(report)
            if report is None or lacks is not None:
                missing[ref] = lacks or Waiting.BOOT
            else:
                reports[ref] = report
        if not missing:
            return [reports[ref] for ref in refs]
        ref, lacks = next(iter(missing.items()))
        count = f" ({len(reports)} of {len(refs)} nodes have theirs)" if len(refs) > 1 else ""
        text = f"{ref.name}  waiting for {lacks}{count}"
        context.progress(
            Step(key="ssh", text=text, current=len(reports), total=len(refs), unit="nodes", deadline=until)
        )
        if context.clock.monotonic() >= limit:
            raise _timed_out(context, ref, lacks, f"waited {context.limits.boot:g} s")
        context.clock.sleep(pause)
        pause = min(pause * 1.5, 2.0)


def _report(context: Context, ref: InstanceRef) -> BootReport | None:
    try:
        return context.provider.boot_report(ref)
    except (RateLimitError, ProviderUnavailableError):
        return None  # asked again, until the deadline
    except NotFoundError as error:
        raise ProviderError(f"{ref.name} went away while it booted", details=str(error)) from error


def _node(report: BootReport) -> Node:
    instance = report.instance
    return Node(
        rank=rank_of(instance.ref.name),
        ref=instance.ref,
        address=instance.addresses[0] if instance.addresses else "",
        route=report.route,
        host_key=_pinned(report),
        notice=report.notice,
        self_delete=report.self_delete,
    )


def _pinned(report: BootReport) -> HostKey:
    """The one key we pin: Ed25519, as its cloud reported it, read once before user code runs."""
    for key in report.host_keys or ():
        if key.kind == "ssh-ed25519":
            return key
    kinds = ", ".join(key.kind for key in report.host_keys or ()) or "none"
    raise ProviderError(
        f"{report.instance.ref.name} published no ssh-ed25519 host key", details=f"it published: {kinds}"
    )


def _login_all(context: Context, nodes: Sequence[Node], endpoints: Sequence[Endpoint]) -> None:
    from gpuforge.transport.keys import fingerprint  # noqa: PLC0415 - start-up cost

    until = context.after(context.limits.login)
    text = f"{_who([node.ref for node in nodes])}  waiting for {Waiting.LOGIN}"
    context.progress(Step(key="ssh", text=text, deadline=until))
    log_in = context.login or (lambda endpoint: login(context, endpoint))
    pairs = list(zip(nodes, endpoints, strict=True))
    each(pairs, lambda pair: _login(context, log_in, pair[0], pair[1]))
    keys = [fingerprint(node.host_key) for node in nodes if node.host_key is not None]
    short = f"{keys[0][:11]}…{keys[0][-2:]}"
    pinned = f"host key {short} pinned" if len(keys) == 1 else f"{len(keys)} host keys pinned"
    context.progress(Step(key="ssh", text=pinned, done=True))


def _login(context: Context, log_in: Callable[[Endpoint], None], node: Node, endpoint: Endpoint) -> None:
    limit = context.clock.monotonic() + context.limits.login
    pause = 0.1
    while True:
        try:
            return log_in(endpoint)
        except HostKeyError:
            raise  # an incident, never a retry
        except (ConnectError, AuthError) as error:
            left = limit - context.clock.monotonic()
            if left <= 0:
                step = Waiting.PORT if isinstance(error, ConnectError) else Waiting.LOGIN
                raise _timed_out(context, node.ref, step, str(error)) from error
            context.clock.sleep(min(pause, left))
            pause = min(pause * 2, 4.0)


def _timed_out(context: Context, ref: InstanceRef, step: Waiting, why: str) -> ProvisionError:
    try:
        console = context.provider.boot_report(ref).console_tail.rstrip()
    except ProviderError:
        console = ""
    tail = "\nthe console's last lines:\n" + console if console else ""
    attempt = Attempt(
        instance_type="–", place=ref.zone or ref.region, reason=f"waited for {step}", error_code="provision"
    )
    return ProvisionError(
        f"{ref.name} was not ready in time: it waited for {step}",
        attempts=[attempt],
        details=f"{why}{tail}",
        resolution="the machine was given back; try again, or another zone with --infra",
    )


def _who(refs: Sequence[InstanceRef]) -> str:
    return refs[0].name if len(refs) == 1 else f"{refs[0].name} and {len(refs) - 1} more"
