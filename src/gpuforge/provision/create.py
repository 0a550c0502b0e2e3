"""Making a cluster: a durable intent before every create, failover by the kinds of errors, READY at the end.

The rows of one attempt, in order (protocol §4): INTENT and RESERVE in one commit, ACK, READY; or FAILED and
RELEASE once the cloud says that nothing of it lives. Whatever line the process dies on, ``gpuforge gc`` finds
the rows it needs, and the cloud ends every instance at its deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.errors import (
    CapacityError,
    GpuforgeError,
    PolicyError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
    StateError,
)
from gpuforge.models.clock import rfc3339
from gpuforge.models.ids import instance_name
from gpuforge.models.instance import InstanceRequest
from gpuforge.models.progress import Step
from gpuforge.provision.context import again, check_clock
from gpuforge.provision.failover import Next, Walk, decide
from gpuforge.provision.hold import hold
from gpuforge.provision.removal import close_failed
from gpuforge.provision.stockouts import Stockouts
from gpuforge.provision.wait import wait_ready, wait_running
from gpuforge.state import codec
from gpuforge.state.journal import NewRow, RowKind
from gpuforge.state.views import find_cluster, ready_body, tries
from gpuforge.transport.keys import ensure_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from gpuforge.models.cluster import Cluster
    from gpuforge.models.instance import Accepted, Instance, PreparedCreate
    from gpuforge.models.plan import Option, Plan
    from gpuforge.provision.context import Context
    from gpuforge.provision.hold import Hold
    from gpuforge.state.journal import Position
    from gpuforge.state.views import Try

__all__ = ["create_cluster"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """One attempt before it has a place in the journal."""

    plan: Plan
    option: Option
    attempt: int
    names: tuple[str, ...]
    deadline: datetime
    labels: Mapping[str, str]
    public_key: str


def create_cluster(context: Context, plan: Plan, *, labels: Mapping[str, str]) -> Cluster:
    """Walk the plan until a gang is ready: every node running, its host key pinned, logged in to once.

    Args:
        context: The cloud, the journal and what else is needed.
        plan: From ``make_plan``.
        labels: The user's own; they stand beside ours on every instance.

    Returns:
        The cluster, READY.

    Raises:
        PolicyError: The name is taken, or this computer's clock cannot be trusted; nothing was created.
        ProvisionError: Every option was tried, or a node was not ready in time.
        ProviderError: The cloud refused in a way no other offering cures, or never answered (the intent then
            stays open for ``gpuforge gc``).
        CleanupError: A failed attempt may still bill.
        StateError: The journal or a lock cannot be used; nothing was sent since its last row.
    """
    _refuse_lost_rows(context)
    uuid = context.entropy(16).hex()
    with hold(context, plan.cluster_name, uuid=uuid, verb="up") as held:
        _refuse_taken(context, plan.cluster_name)
        public_key = ensure_key(context.paths.cluster(plan.cluster_name))
        walk = Walk(plan=plan)
        while (option := walk.step()) is not None:
            order = _order(context, plan, option, uuid=uuid, labels=labels, public_key=public_key)
            try:
                return _attempt(held, order)
            except ProviderError as error:
                if decide(error) is Next.STOP:
                    raise
                _note(context, walk, option, error)
        raise walk.failed()


def _note(context: Context, walk: Walk, option: Option, error: GpuforgeError) -> None:
    walk.met(option, error, context.clock.now())
    if isinstance(error, CapacityError):
        Stockouts(context.paths.stockouts, context.clock).remember(option.offering.key)
    reason = walk.attempts[-1].reason
    text = f"{option.offering.instance_type} in {option.offering.zone}: {reason}"
    context.progress(Step(key="instance", text=text))


def _refuse_lost_rows(context: Context) -> None:
    if reason := context.journal.behind:
        raise StateError(
            "the journal has lost rows, so nothing new may be created",
            details=reason,
            resolution="gpuforge gc  asks the cloud what lives, reports it, and clears this",
        )


def _refuse_taken(context: Context, name: str) -> None:
    taken = find_cluster(context.journal, name)
    if taken is not None:
        raise PolicyError(
            f"the cluster name {name!r} is taken",
            details=f"it is {taken.state}, until {rfc3339(taken.deadline)}",
            resolution=f"use it, give it back (gpuforge down {name}), or choose another name with -c",
        )


def _order(
    context: Context, plan: Plan, option: Option, *, uuid: str, labels: Mapping[str, str], public_key: str
) -> _Order:
    """The next attempt: a new number, so a new name and token; its deadline from the cloud's own clock."""
    attempt = 1 + max((x.cluster.attempt for x in tries(context.journal, uuid)), default=0)
    names = tuple(
        instance_name(context.journal.journal_id, uuid, rank=rank, attempt=attempt)
        for rank in range(plan.num_nodes)
    )
    deadline = (check_clock(context) + plan.max_duration).replace(microsecond=0)
    return _Order(
        plan=plan,
        option=option,
        attempt=attempt,
        names=names,
        deadline=deadline,
        labels=labels,
        public_key=public_key,
    )


def _attempt(held: Hold, order: _Order) -> Cluster:
    context = held.context
    _write_intent(held, order)
    try:
        accepted = _send(held, _current(held))
        _acknowledge(held, order.attempt, accepted)
        instances = wait_running(context, accepted.refs)
        _check_deadlines(instances, order.deadline)
        text = f"{order.names[0]} running" if len(order.names) == 1 else f"{len(order.names)} nodes running"
        context.progress(Step(key="instance", text=text, done=True))
        ready = wait_ready(context, order.plan.cluster_name, instances)
        ranks = _ranks(order.option, ready.capped_ranks)
        body = ready_body(ready.nodes, ranks_per_node=ranks)
        held.write(held.row(RowKind.READY, attempt=order.attempt, body=body))
    except StateError:
        raise  # what cannot be written down may not be acted on
    except GpuforgeError as error:
        attempt = _current(held)
        if _is_undecided(error) and not attempt.acked:
            error.resolution = "the machine may yet appear: gpuforge gc  finds out and removes it"
            raise
        context.progress(Step(key="instance", text=error.brief, failed=decide(error) is Next.STOP))
        close_failed(held, attempt, error)
        raise
    return _current(held).cluster


def _is_undecided(error: GpuforgeError) -> bool:
    """The fate of the call is unknown: a second insert might buy a second machine."""
    return isinstance(error, ProviderUnavailableError | RateLimitError)


def _write_intent(held: Hold, order: _Order) -> None:
    """One durable commit: what will be asked, byte for byte, and the money it may cost."""
    usd = order.option.worst_case_usd
    reserve = {"usd": codec.money_to_json(usd), "until": codec.moment_to_json(order.deadline)}

    def intent(position: Position) -> NewRow:
        label = f"{position.seq}-{position.prev[:12]}"
        prepared = held.context.provider.prepare_create(_request(held, order, label))
        body = _intent_body(held.context, order, label, prepared)
        return held.row(RowKind.INTENT, attempt=order.attempt, body=body)

    held.write(intent, held.row(RowKind.RESERVE, attempt=order.attempt, body=reserve))


def _request(held: Hold, order: _Order, label: str) -> InstanceRequest:
    context = held.context
    ours = {
        "gf-owner": context.owner,
        "gf-journal": context.journal.journal_id,
        "gf-cluster": order.plan.cluster_name,
        "gf-intent": label,
        "gf-epoch": str(held.epoch),
        "gf-deadline": str(int(order.deadline.timestamp())),
    }
    return InstanceRequest(
        names=order.names,
        offering=order.option.offering,
        image=order.option.image,
        disk_gib=_disk_gib(order.option),
        deadline=order.deadline,
        labels={**order.labels, **ours},
        ssh_public_key=order.public_key,
        user=context.user,
    )


def _intent_body(context: Context, order: _Order, label: str, prepared: PreparedCreate) -> dict[str, Any]:
    return {
        "name": order.plan.cluster_name,
        "owner": context.owner,
        "simulated": context.provider.simulated,
        "intent": label,
        "prepared": codec.prepared_to_json(prepared),
        "offering": codec.offering_to_json(order.option.offering),
        "image": codec.image_to_json(order.option.image),
        "disk_gib": _disk_gib(order.option),
        "labels": dict(order.labels),
        "usd_per_hour": codec.money_to_json(order.option.usd_per_hour),
        "autostop_minutes": order.plan.autostop_minutes,
        "ranks": _ranks(order.option, None),
    }


def _disk_gib(option: Option) -> int:
    return max(option.need.disk_gib, option.image.min_disk_gib)


def _ranks(option: Option, cap: int | None) -> int:
    gpus = option.offering.accelerator
    ranks = gpus.count if gpus else 1
    return max(1, ranks if cap is None else min(ranks, cap))


def _send(held: Hold, attempt: Try) -> Accepted:
    context, prepared = held.context, attempt.prepared
    place = prepared.zone or prepared.region
    text = f"{prepared.names[0]} asked for: {attempt.cluster.offering.instance_type} in {place}"
    context.progress(Step(key="instance", text=text, deadline=context.after(context.limits.call)))
    held.check()
    return again(context, lambda: context.provider.create(prepared), seconds=context.limits.call)


def _acknowledge(held: Hold, attempt: int, accepted: Accepted) -> None:
    refs = [codec.ref_to_json(ref) for ref in accepted.refs]
    body = {"operation": accepted.operation, "refs": refs}
    held.write(held.row(RowKind.ACK, attempt=attempt, body=body))


def _check_deadlines(instances: Sequence[Instance], deadline: datetime) -> None:
    """No machine is kept that its cloud would not end by itself."""
    for instance in instances:
        if instance.deadline is None or instance.deadline > deadline:
            shown = "none" if instance.deadline is None else rfc3339(instance.deadline)
            raise PolicyError(
                f"{instance.ref.name} does not show the deadline it was asked for, so it was given back",
                details=f"asked for {rfc3339(deadline)}, the cloud shows {shown}",
                resolution="check whether the account may set deadlines: gpuforge doctor",
            )


def _current(held: Hold) -> Try:
    """The attempt being worked on, as the journal has it."""
    return tries(held.context.journal, held.uuid)[-1]
