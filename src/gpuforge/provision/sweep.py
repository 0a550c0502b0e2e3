"""The sweep: every machine under our owner label that the journal does not know, judged one by one.

It reports; it deletes only what is past its deadline, what this very journal once closed, and what a person
named by id. What carries another owner's label is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gpuforge.errors import Leftover, ProviderError, ProviderUnavailableError, RateLimitError
from gpuforge.models.clock import rfc3339
from gpuforge.models.instance import InstanceState, Selector
from gpuforge.provision.context import again
from gpuforge.provision.hold import hold
from gpuforge.provision.removal import confirm_gone
from gpuforge.state import codec
from gpuforge.state.journal import RowKind
from gpuforge.state.views import tries

if TYPE_CHECKING:
    from collections.abc import Collection

    from gpuforge.models.instance import Disk, Instance, InstanceRef, Listing
    from gpuforge.provision.context import Context

__all__ = ["Stray", "Swept", "sweep"]

_LOCK = "gc sweep"  # no cluster's name has a space


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A machine under our owner label that the journal does not know.

    Attributes:
        deadline: When the cloud ends it; None when nothing does.
        is_ours: It carries this journal's label (the journal may be an old copy); else another's.
        is_deleted: It was given back, and the cloud confirmed it.
    """

    instance: Instance
    deadline: datetime | None
    is_ours: bool
    is_deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What the sweep saw; ``complete`` is False when a part of the cloud did not answer."""

    strays: tuple[Stray, ...] = ()
    disks: tuple[Disk, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    unknown_ids: tuple[str, ...] = ()
    complete: bool = True
    warnings: tuple[str, ...] = ()


def sweep(context: Context, *, delete_ids: Collection[str] = ()) -> Swept:
    """List by owner, set aside what the journal knows, and judge the rest.

    Raises:
        CredentialsError, PermissionDeniedError: The cloud lets nobody look.
        StateError: The journal cannot be used.
    """
    selector = Selector(owner=context.owner)
    try:
        listing = again(context, lambda: context.provider.list(selector), seconds=context.limits.call)
    except (ProviderUnavailableError, RateLimitError) as error:
        return Swept(complete=False, warnings=(str(error),), unknown_ids=tuple(sorted(delete_ids)))
    strays: list[Stray] = []
    leftovers: list[Leftover] = []
    for instance in _unknown(context, listing):
        stray = Stray(
            instance=instance,
            deadline=_deadline(instance),
            is_ours=instance.labels.get("gf-journal") == context.journal.journal_id,
        )
        if _must_go(context, stray, listing.server_time, delete_ids):
            reason = _delete(context, instance.ref)
            if reason:
                leftovers.append(_leftover(stray, reason))
            stray = Stray(
                instance=instance, deadline=stray.deadline, is_ours=stray.is_ours, is_deleted=not reason
            )
        elif listing.server_time - instance.created < timedelta(seconds=context.limits.horizon):
            continue  # another command may be at work on it
        strays.append(stray)
    found = {stray.instance.ref.instance_id for stray in strays}
    return Swept(
        strays=tuple(strays),
        disks=listing.disks,
        leftovers=tuple(leftovers),
        unknown_ids=tuple(sorted(set(delete_ids) - found)),
        complete=listing.complete,
        warnings=listing.warnings,
    )


def _unknown(context: Context, listing: Listing) -> list[Instance]:
    known = {
        (ref.name, ref.instance_id)
        for uuid in context.journal.cluster_uuids()
        for attempt in tries(context.journal, uuid)
        if attempt.is_open
        for ref in attempt.refs
    }
    return [
        instance
        for instance in listing.instances
        if instance.state is not InstanceState.GONE
        and instance.labels.get("gf-owner") == context.owner
        and not {(instance.ref.name, instance.ref.instance_id), (instance.ref.name, None)} & known
    ]


def _deadline(instance: Instance) -> datetime | None:
    """As the cloud shows it; a machine that was powered off may show none, its label still does."""
    if instance.deadline is not None:
        return instance.deadline
    try:
        return datetime.fromtimestamp(int(instance.labels["gf-deadline"]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def _must_go(context: Context, stray: Stray, now: datetime, delete_ids: Collection[str]) -> bool:
    if stray.instance.ref.instance_id in delete_ids:
        return True
    if stray.deadline is not None and now > stray.deadline + timedelta(seconds=context.limits.lateness):
        return True
    return stray.is_ours and _was_closed(context, stray.instance)


def _was_closed(context: Context, instance: Instance) -> bool:
    """The journal closed this very intent: a request that landed late."""
    return any(
        not attempt.is_open
        and attempt.intent == instance.labels.get("gf-intent")
        and instance.ref.name in attempt.prepared.names
        for uuid in context.journal.cluster_uuids(include_closed=True)
        for attempt in tries(context.journal, uuid)
    )


def _delete(context: Context, ref: InstanceRef) -> str:
    """Delete one machine by id, on the record; why it could not be confirmed, or empty."""
    with hold(context, _LOCK, uuid="", verb="gc") as held:
        body = {"refs": [codec.ref_to_json(ref)], "why": "unknown to the journal"}
        held.write(held.row(RowKind.DELETE_INTENT, attempt=0, node=ref.name, body=body))
        try:
            again(context, lambda: context.provider.delete([ref]), seconds=context.limits.call)
        except ProviderError as error:
            return str(error)
        gone, waiting = confirm_gone(context, [ref], seconds=context.limits.delete)
        if gone:
            gone_body = {"ref": codec.ref_to_json(ref)}
            held.write(held.row(RowKind.GONE, attempt=0, node=ref.name, body=gone_body))
        return "".join(waiting.values())


def _leftover(stray: Stray, reason: str) -> Leftover:
    return Leftover(
        kind="instance",
        name=stray.instance.ref.name,
        place=stray.instance.ref.zone,
        reason=reason,
        until=rfc3339(stray.deadline) if stray.deadline else "",
    )
