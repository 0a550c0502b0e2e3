"""Every error gpuforge raises, as one tree: a kind tells the *caller* what to do next.

::

    GpuforgeError                       root: brief, details, resolution
    ├ SpecError                         what the user wrote is wrong; nothing was created
    ├ PolicyError                       refused before any cost; nothing was created
    │  ├ DeclinedError                  a question was answered with no, or nobody was there to ask
    │  └ DeadlineError                  it does not fit before the deadline, or the deadline has passed
    ├ BudgetError                       a limit is or would be passed; says what still runs
    ├ ProviderError                     the cloud answered, or failed to
    │  ├ CapacityError                  next offering; remember the stock-out for minutes
    │  ├ QuotaError                     next region, or ask for quota
    │  ├ RateLimitError                 wait, then the same call
    │  ├ ProviderUnavailableError       the same call again, under its deadline
    │  ├ CredentialsError               stop at once, say what to fix
    │  ├ PermissionDeniedError          stop at once, say what to fix
    │  ├ InvalidRequestError            stop at once, say what to fix
    │  ├ NotFoundError                  it is not there (success, for a delete)
    │  ├ ConflictError                  the name or token is taken by something else
    │  └ UnsupportedError               this provider cannot do that
    ├ ProvisionError                    every offering was tried; carries each attempt
    ├ TransportError                    between here and a node
    │  ├ ConnectError                   no connection in time
    │  ├ AuthError                      the node refused our key
    │  ├ HostKeyError                   the node is not who its cloud says; nothing was sent
    │  └ CommandError                   a command of ours failed on the node
    ├ SyncError                         a copy is incomplete; names each row
    ├ JobError                          a job could not be started, found or followed
    ├ StateError                        the journal, a lock or a file of ours
    └ CleanupError                      something may still cost money; never swallowed

Typical use::

    try:
        forge.up(task)
    except gpuforge.CapacityError:
        ...  # another region, another GPU
    except gpuforge.GpuforgeError as error:
        print(error.brief, error.details, error.resolution)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Attempt",
    "AuthError",
    "BudgetError",
    "CapacityError",
    "CleanupError",
    "CommandError",
    "ConflictError",
    "ConnectError",
    "CredentialsError",
    "DeadlineError",
    "DeclinedError",
    "GpuforgeError",
    "HostKeyError",
    "InvalidRequestError",
    "JobError",
    "Leftover",
    "Mistake",
    "NotFoundError",
    "PermissionDeniedError",
    "PolicyError",
    "ProviderError",
    "ProviderUnavailableError",
    "ProvisionError",
    "QuotaError",
    "RateLimitError",
    "SpecError",
    "StateError",
    "SyncError",
    "TransportError",
    "UnsupportedError",
]


class GpuforgeError(Exception):
    """Root of the tree.

    Attributes:
        brief: One sentence without a full stop; names the thing.
        details: Why, as one or more lines; may be empty.
        resolution: An action, with a command where there is one; may be empty.
        code: Stable machine name of the kind, shown in ``--json`` and documented.
        exit_code: What the command line exits with.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 70

    def __init__(self, brief: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.resolution = resolution

    def __str__(self) -> str:
        return f"{self.brief}: {self.details}" if self.details else self.brief

    def __reduce__(self) -> tuple[Any, ...]:
        # keyword-only fields would be lost by the default pickling of exceptions
        return (_rebuild, (type(self), self.brief, self.__dict__.copy()))


def _rebuild(kind: type[GpuforgeError], brief: str, state: dict[str, Any]) -> GpuforgeError:
    error = kind.__new__(kind, brief)
    error.args = (brief,)
    error.__dict__.update(state)
    return error


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing wrong in a file the user wrote.

    Attributes:
        where: ``file:line:column``, or the name of a flag or variable.
        snippet: The offending text as written, one line; may be empty.
        message: What is wrong and what to write instead.
    """

    where: str
    message: str
    snippet: str = ""


class SpecError(GpuforgeError):
    """What the user wrote is wrong; all mistakes are reported at once."""

    code = "spec"
    exit_code = 64

    def __init__(
        self, brief: str, *, mistakes: Sequence[Mistake] = (), details: str = "", resolution: str = ""
    ) -> None:
        lines = [f"{mistake.where}: {mistake.message}" for mistake in mistakes]
        super().__init__(brief, details=details or "\n".join(lines), resolution=resolution)
        self.mistakes = tuple(mistakes)


class PolicyError(GpuforgeError):
    """Refused before anything was created or billed."""

    code = "policy"
    exit_code = 73


class DeclinedError(PolicyError):
    """A question was answered with no, or there was nobody to ask; nothing was done."""

    code = "declined"
    exit_code = 76


class DeadlineError(PolicyError):
    """Something does not fit before the machines' deadline, or the deadline has passed."""

    code = "deadline"
    exit_code = 75


class BudgetError(GpuforgeError):
    """A limit on money is or would be passed."""

    code = "budget"
    exit_code = 73


class ProviderError(GpuforgeError):
    """The cloud failed in a way no narrower kind describes; ``details`` keeps its own words."""

    code = "provider"
    exit_code = 67


class CapacityError(ProviderError):
    """No stock of this offering now: try the next one."""

    code = "capacity"
    exit_code = 69


class QuotaError(ProviderError):
    """The account may not have more of this here: try the next region, or ask for quota."""

    code = "quota"
    exit_code = 73


class RateLimitError(ProviderError):
    """Too many calls: wait, then repeat the same call."""

    code = "rate_limit"


class ProviderUnavailableError(ProviderError):
    """The call's fate is unknown or the cloud is down: repeat the same call under its deadline."""

    code = "provider_unavailable"


class CredentialsError(ProviderError):
    """No usable credentials."""

    code = "credentials"
    exit_code = 77


class PermissionDeniedError(ProviderError):
    """The identity lacks a permission."""

    code = "permission_denied"
    exit_code = 77


class InvalidRequestError(ProviderError):
    """The cloud will never accept this request."""

    code = "invalid_request"


class NotFoundError(ProviderError):
    """The thing is not there."""

    code = "not_found"
    exit_code = 66


class ConflictError(ProviderError):
    """The name, or the token with another body, is already taken."""

    code = "conflict"


class UnsupportedError(ProviderError):
    """This provider cannot do that."""

    code = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One offering that was tried and the error it met.

    Attributes:
        instance_type: The offering's instance type.
        place: Zone, or ``–`` when no zone was asked.
        reason: One line in the user's words.
        error_code: ``code`` of the error kind, such as ``capacity``.
    """

    instance_type: str
    place: str
    reason: str
    error_code: str


class ProvisionError(GpuforgeError):
    """Every offering was tried; ``attempts`` holds each with its reason."""

    code = "provision"
    exit_code = 69

    def __init__(
        self, brief: str, *, attempts: Sequence[Attempt] = (), details: str = "", resolution: str = ""
    ) -> None:
        rows = [f"{a.instance_type}  {a.place}  {a.reason}" for a in attempts]
        super().__init__(brief, details=details or "\n".join(rows), resolution=resolution)
        self.attempts = tuple(attempts)


class TransportError(GpuforgeError):
    """Something failed between this computer and a node."""

    code = "transport"
    exit_code = 68


class ConnectError(TransportError):
    """No connection within the deadline."""

    code = "connect"


class AuthError(TransportError):
    """The node refused our key."""

    code = "auth"


class HostKeyError(TransportError):
    """The key offered is not the one pinned; nothing was sent."""

    code = "host_key"


class CommandError(TransportError):
    """A command gpuforge ran on a node failed."""

    code = "command"

    def __init__(self, brief: str, *, status: int = 1, details: str = "", resolution: str = "") -> None:
        super().__init__(brief, details=details, resolution=resolution)
        self.status = status


class SyncError(GpuforgeError):
    """A copy is incomplete; ``rows`` names each path and why."""

    code = "sync"
    exit_code = 74

    def __init__(
        self, brief: str, *, rows: Sequence[tuple[str, str]] = (), details: str = "", resolution: str = ""
    ) -> None:
        lines = [f"{path}: {reason}" for path, reason in rows]
        super().__init__(brief, details=details or "\n".join(lines), resolution=resolution)
        self.rows = tuple(rows)


class JobError(GpuforgeError):
    """A job could not be started, found or followed."""

    code = "job"
    exit_code = 66


class StateError(GpuforgeError):
    """The journal, a lock or another file of ours cannot be used as it is."""

    code = "state"
    exit_code = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Something that may still cost money.

    Attributes:
        kind: ``instance``, ``disk`` …
        name: Its name at the provider.
        place: Zone or region.
        reason: Why it could not be removed.
        until: When the cloud ends it by itself (RFC 3339), or empty when nothing does.
    """

    kind: str
    name: str
    place: str
    reason: str
    until: str = ""


class CleanupError(GpuforgeError):
    """Something may still bill; every leftover is listed."""

    code = "cleanup"
    exit_code = 71

    def __init__(
        self, brief: str, *, leftovers: Sequence[Leftover] = (), details: str = "", resolution: str = ""
    ) -> None:
        rows = [f"{x.kind} {x.name} in {x.place}: {x.reason}" for x in leftovers]
        super().__init__(brief, details=details or "\n".join(rows), resolution=resolution)
        self.leftovers = tuple(leftovers)
