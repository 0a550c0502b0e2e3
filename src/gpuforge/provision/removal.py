"""Removing what one attempt made: by id, "gone" only by the cloud's word, and its rows in the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.errors import CleanupError, GpuforgeError, Leftover, NotFoundError, ProviderError
from gpuforge.models.clock import rfc3339
from gpuforge.models.cluster import ClusterState
from gpuforge.models.instance import InstanceState, Selector
from gpuforge.models.progress import Step
from gpuforge.provision.context import again
from gpuforge.state import codec
from gpuforge.state.journal import RowKind
from gpuforge.state.views import find_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuforge.models.instance import Instance, InstanceRef, Listing
    from gpuforge.provision.context import Context
    from gpuforge.provision.hold import Hold
    from gpuforge.state.journal import NewRow
    from gpuforge.state.views import Try

__all__ = [
    "close_failed",
    "confirm_gone",
    "gone_row",
    "leave_nodes",
    "remove",
    "still_billing",
]


def still_billing(name: str, leftovers: Sequence[Leftover]) -> CleanupError:
    """The error that lists what is left."""
    return CleanupError(
        f"something of {name!r} may still cost money",
        leftovers=leftovers,
        resolution="gpuforge gc  tries again and reports what is left",
    )


def remove(held: Hold, attempt: Try, *, why: str, failure: GpuforgeError | None = None) -> list[Leftover]:
    """Delete what lives of one attempt, wait for the cloud's word, check its disks, close its reservation.

    Args:
        held: The cluster's lock and epoch.
        attempt: Open; not touched when it is not.
        why: For the journal.
        failure: What ended the attempt before it was ready; it is then closed as FAILED.

    Returns:
        What may still bill; the reservation stays open while there is any.
    """
    context = held.context
    refs = _identify(context, attempt)
    body = {"refs": [codec.ref_to_json(ref) for ref in refs], "why": why}
    held.write(held.row(RowKind.DELETE_INTENT, attempt=attempt.cluster.attempt, body=body))
    held.check()
    refused = _delete(context, refs)
    limit = context.after(context.limits.delete)
    context.progress(Step(key="down", text=f"waiting for {_names(refs)} to be gone", deadline=limit))
    gone, waiting = confirm_gone(context, refs, seconds=context.limits.delete)
    rows = [gone_row(held, attempt, ref) for ref in gone]
    leftovers = [_leftover(attempt, ref, refused.get(ref.name) or reason) for ref, reason in waiting.items()]
    leftovers += _disks(context, attempt)
    if not leftovers:
        rows += _closing(held, attempt, failure)
    if rows:
        held.write(*rows)
    return leftovers


def close_failed(held: Hold, attempt: Try, failure: GpuforgeError) -> None:
    """End an attempt that came to nothing: FAILED only once the cloud says that nothing of it lives.

    Raises:
        CleanupError: Something of it may still bill.
        ProviderError: The cloud does not say; the intent stays open for ``gpuforge gc``.
    """
    context = held.context
    if not attempt.acked:
        listing = _list(context, attempt.refs)
        if listing.complete and not any(_is_ours(context, attempt, found) for found in _alive(listing)):
            held.write(*_closing(held, attempt, failure))
            return
    leftovers = remove(held, attempt, why=failure.code, failure=failure)
    if leftovers:
        raise still_billing(attempt.cluster.name, leftovers) from failure


def confirm_gone(
    context: Context, refs: Sequence[InstanceRef], *, seconds: float
) -> tuple[list[InstanceRef], dict[InstanceRef, str]]:
    """Ask the cloud until it says that ``refs`` are gone.

    Returns:
        Those that are, and the others, each with the reason.
    """
    if not refs:
        return [], {}
    try:
        again(context, lambda: _wait_gone(context, refs, seconds), seconds=seconds)
    except ProviderError as error:
        if len(refs) == 1:
            return [], {refs[0]: str(error)}
    else:
        return list(refs), {}
    gone: list[InstanceRef] = []
    waiting: dict[InstanceRef, str] = {}
    for ref in refs:  # one that hangs must not hide that the others are gone
        alone, reason = confirm_gone(context, [ref], seconds=1)
        gone += alone
        waiting |= reason
    return gone, waiting


def leave_nodes(context: Context, name: str) -> None:
    """Close kept SSH connections, and remove key and pins once no cluster of this name may still live.

    Manifests and job records stay: they describe files of the user.
    """
    from gpuforge.transport.files import close_masters  # noqa: PLC0415 - start-up cost

    folder = context.paths.cluster(name)
    living = find_cluster(context.journal, name)
    if not folder.is_dir() or (living is not None and living.state is not ClusterState.DELETING):
        return  # another cluster took the name
    close_masters(folder, control_dir=context.paths.sockets)
    if living is None:
        for file in ("id_ed25519", "id_ed25519.pub", "known_hosts", "ssh_config"):
            (folder / file).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def gone_row(held: Hold, attempt: Try, ref: InstanceRef) -> NewRow:
    """The cloud said that this node is gone."""
    body = {"ref": codec.ref_to_json(ref)}
    return held.row(RowKind.GONE, attempt=attempt.cluster.attempt, node=ref.name, body=body)


def _wait_gone(context: Context, refs: Sequence[InstanceRef], seconds: float) -> None:
    try:
        context.provider.wait(refs, InstanceState.GONE, context.after(seconds))
    except NotFoundError:
        if len(refs) > 1:  # of whom is it said?
            raise


def _delete(context: Context, refs: Sequence[InstanceRef]) -> dict[str, str]:
    """Ask for the deletion of each; refusals by name."""
    if not refs:
        return {}
    try:
        again(context, lambda: context.provider.delete(refs), seconds=context.limits.call)
    except ProviderError as error:
        if len(refs) == 1:
            return {refs[0].name: str(error)}
        refused: dict[str, str] = {}
        for ref in refs:  # one bad id must not spare the others
            refused |= _delete(context, [ref])
        return refused
    return {}


def _identify(context: Context, attempt: Try) -> list[InstanceRef]:
    """The live references, with ids from the cloud where the journal has none."""
    refs = attempt.live_refs
    if all(ref.instance_id for ref in refs):
        return list(refs)
    try:
        listing = _list(context, refs)
    except ProviderError:
        return list(refs)  # by name then: it is this attempt's alone
    ours = {x.ref.name: x.ref for x in listing.instances if _is_ours(context, attempt, x)}
    strangers = {x.ref.name for x in listing.instances} - ours.keys()
    return [ref if ref.instance_id else ours.get(ref.name, ref) for ref in refs if ref.name not in strangers]


def _is_ours(context: Context, attempt: Try, instance: Instance) -> bool:
    labels = instance.labels
    return (
        labels.get("gf-journal") == context.journal.journal_id and labels.get("gf-intent") == attempt.intent
    )


def _alive(listing: Listing) -> list[Instance]:
    return [instance for instance in listing.instances if instance.state is not InstanceState.GONE]


def _list(context: Context, refs: Sequence[InstanceRef]) -> Listing:
    selector = Selector(refs=tuple(refs))
    return again(context, lambda: context.provider.list(selector), seconds=context.limits.call)


def _disks(context: Context, attempt: Try) -> list[Leftover]:
    """Disks of this attempt that stand alone, or the reason why nobody could look."""
    selector = Selector(owner=attempt.cluster.owner)
    place = attempt.prepared.zone or attempt.prepared.region
    try:
        listing = again(context, lambda: context.provider.list(selector), seconds=context.limits.call)
    except ProviderError as error:
        return [Leftover(kind="disk", name="(unknown)", place=place, reason=f"not checked: {error}")]
    left = [
        Leftover(kind="disk", name=disk.name, place=disk.zone, reason="it outlived its instance")
        for disk in listing.disks
        if disk.labels.get("gf-journal") == context.journal.journal_id
        and disk.labels.get("gf-intent") == attempt.intent
    ]
    if not listing.complete and not left:
        reason = "not checked: " + "; ".join(listing.warnings)
        return [Leftover(kind="disk", name="(unknown)", place=place, reason=reason)]
    return left


def _closing(held: Hold, attempt: Try, failure: GpuforgeError | None) -> list[NewRow]:
    number = attempt.cluster.attempt
    rows = []
    if failure is not None:
        body = {"code": failure.code, "reason": str(failure)}
        rows.append(held.row(RowKind.FAILED, attempt=number, body=body))
    return [*rows, held.row(RowKind.RELEASE, attempt=number)]


def _leftover(attempt: Try, ref: InstanceRef, reason: str) -> Leftover:
    return Leftover(
        kind="instance",
        name=ref.name,
        place=ref.zone or ref.region,
        reason=reason,
        until=rfc3339(attempt.cluster.deadline),
    )


def _names(refs: Sequence[InstanceRef]) -> str:
    if len(refs) == 1:
        return refs[0].name
    return f"{len(refs)} machines"
