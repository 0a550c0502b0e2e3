"""Recovery re-drives: an intent nobody heard an answer to is sent again, byte for byte, then deleted by id.

A list never proves that something is absent (protocol §6, §8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.errors import CleanupError, Leftover, ProviderError, ProviderUnavailableError, RateLimitError
from gpuforge.models.instance import InstanceState
from gpuforge.provision.context import again
from gpuforge.provision.removal import close_failed, remove
from gpuforge.state import codec
from gpuforge.state.journal import RowKind
from gpuforge.state.views import tries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuforge.models.instance import InstanceRef
    from gpuforge.provision.hold import Hold
    from gpuforge.state.views import Try

__all__ = ["Ended", "finish", "unsettled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended: for a person, and what of it may still bill."""

    outcome: str
    leftovers: tuple[Leftover, ...] = ()


def finish(held: Hold, attempt: Try, *, why: str) -> Ended:
    """Bring an open attempt, however far it came, to its end: nothing of it lives, and its rows say so.

    What the cloud refuses or does not answer is a leftover, never an error.

    Raises:
        StateError: The journal cannot be written, or another command took the cluster over.
    """
    outcome = "its machines were given back"
    try:
        if not all(ref.instance_id for ref in attempt.live_refs):
            outcome = _redrive(held, attempt)
            attempt = _current(held, attempt)
        left = remove(held, attempt, why=why) if attempt.is_open else []
    except ProviderError as error:
        left = unsettled(attempt.live_refs, str(error))
    except CleanupError as error:
        left = list(error.leftovers)
    return Ended(outcome=outcome, leftovers=tuple(left))


def unsettled(refs: Sequence[InstanceRef], why: str) -> list[Leftover]:
    """Machines that may or may not live: the cloud did not say."""
    return [
        Leftover(kind="instance", name=ref.name, place=ref.zone or ref.region, reason=f"not settled: {why}")
        for ref in refs
    ]


def _redrive(held: Hold, attempt: Try) -> str:
    """Send the same bytes again: the token answers with what they made the first time.

    Raises:
        ProviderUnavailableError, RateLimitError: Still no answer; the intent stays open.
    """
    context = held.context
    held.check()
    try:
        accepted = again(
            context, lambda: context.provider.create(attempt.prepared), seconds=context.limits.call
        )
        _acknowledge(held, attempt, accepted.operation, accepted.refs)
        if any(ref.instance_id is None for ref in accepted.refs):
            # the operation names its machines once it is done
            until = context.after(context.limits.operation)
            instances = context.provider.wait(accepted.refs, InstanceState.RUNNING, until)
            _acknowledge(held, attempt, accepted.operation, [instance.ref for instance in instances])
    except (ProviderUnavailableError, RateLimitError):
        raise
    except ProviderError as error:
        close_failed(held, _current(held, attempt), error)
        return f"nothing of it lives ({error.code})"
    return "its create was sent again, and what it made was given back"


def _acknowledge(held: Hold, attempt: Try, operation: str, refs: Sequence[InstanceRef]) -> None:
    body = {"operation": operation, "refs": [codec.ref_to_json(ref) for ref in refs]}
    held.write(held.row(RowKind.ACK, attempt=attempt.cluster.attempt, body=body))


def _current(held: Hold, attempt: Try) -> Try:
    return next(x for x in tries(held.context.journal, held.uuid) if x.intent == attempt.intent)
