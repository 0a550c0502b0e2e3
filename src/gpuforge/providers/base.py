"""The provider port: nine methods a cloud must answer, and the facets it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from gpuforge.models.image import Image
    from gpuforge.models.instance import (
        Accepted,
        BootReport,
        Check,
        Instance,
        InstanceRef,
        InstanceRequest,
        InstanceState,
        Listing,
        PreparedCreate,
        Selector,
    )
    from gpuforge.models.offering import Offering
    from gpuforge.models.resources import Need

__all__ = ["ImageQuery", "Power", "Provider"]


class Power(Protocol):
    """Optional: instances that can be stopped with their disk kept, and started again."""

    def stop(self, refs: Sequence[InstanceRef]) -> None:
        """Stop; the disk stays and bills. Idempotent; returns when accepted."""
        ...

    def start(self, refs: Sequence[InstanceRef], deadline: datetime) -> None:
        """Set the new deadline first, then start; does not start when the deadline is refused."""
        ...


class ImageQuery(Protocol):
    """What is wanted of an image; ``name`` is an id or family, or ``None`` for the default."""

    @property
    def name(self) -> str | None:
        """Id or family as the user wrote it."""
        ...

    @property
    def arch(self) -> str:
        """``x86_64`` or ``arm64``."""
        ...

    @property
    def needs_gpu(self) -> bool:
        """The image must bring a driver."""
        ...


class Provider(Protocol):
    """One cloud, in one account.

    Every method maps the cloud's errors to the kinds of :mod:`gpuforge.errors` at this border.
    ``CredentialsError``, ``PermissionDeniedError`` and ``InvalidRequestError`` may come from any of them
    and are never tried elsewhere; ``RateLimitError`` and ``ProviderUnavailableError`` may come from any
    of them and mean "the same call again".
    """

    @property
    def name(self) -> str:
        """Such as ``fake``; enters labels, refs and host-key aliases."""
        ...

    @property
    def simulated(self) -> bool:
        """Nothing it creates is billed."""
        ...

    @property
    def power(self) -> Power | None:
        """The stop/start facet, where the cloud has one."""
        ...

    @property
    def images(self) -> tuple[Image, ...] | None:
        """Every image it can list at no cost, or None where it cannot (``resolve_image`` still can)."""
        ...

    def list_offerings(self, need: Need) -> Iterable[Offering]:
        """Everything sold that could meet ``need``'s place and hardware, dear or cheap.

        Includes what is out of stock now, and what is restricted (``Offering.restriction`` says how).
        ``Need.accelerators`` carry canonical names here. Costs nothing, changes nothing.
        """
        ...

    def resolve_image(self, query: ImageQuery) -> Image:
        """The image a name or family means today.

        Raises:
            NotFoundError: No such image; ``resolution`` lists what there is.
        """
        ...

    def prepare_create(self, request: InstanceRequest) -> PreparedCreate:
        """Names, token and exact body bytes of the create. Pure: the same request, the same words.

        Raises:
            InvalidRequestError: The request has no deadline, owner label or name of the right form.
        """
        ...

    def create(self, prepared: PreparedCreate) -> Accepted:
        """Send it. Idempotent by the token: a repeat answers with what the token created. Does not wait.

        Raises:
            CapacityError: No stock (it may also come later, from ``wait``).
            QuotaError: The account's limit.
            ConflictError: A name lives that this token did not make, or the token came with another body.
        """
        ...

    def wait(
        self, refs: Sequence[InstanceRef], until: InstanceState, deadline: datetime
    ) -> tuple[Instance, ...]:
        """Block until every instance is in ``until`` (``GONE`` included), on the server's side if it can.

        Returns the instances in the order of ``refs``; ids are filled in.

        Raises:
            CapacityError, QuotaError: The create's operation ended so; nothing was made.
            ProviderError: The operation failed, or an instance went to a state with no way to ``until``.
            ProviderUnavailableError: ``deadline`` passed; the state is unknown.
        """
        ...

    def list(self, selector: Selector) -> Listing:
        """Instances and left-over disks, with the cloud's own time; says when it is incomplete.

        By refs, an id (where known) must match: a newer instance of that name is not the one asked for.
        """
        ...

    def delete(self, refs: Sequence[InstanceRef]) -> None:
        """Delete by id; returns once the cloud has accepted. Something already gone is success.

        A ref without an id is deleted by name.
        """
        ...

    def boot_report(self, ref: InstanceRef) -> BootReport:
        """What the cloud knows about a booting instance: host keys or not yet, console tail, route.

        Raises:
            NotFoundError: No such instance.
        """
        ...

    def preflight(self) -> tuple[Check, ...]:
        """Credentials, APIs, quota, permissions: PASS / FAIL / SKIP, each with its fix. Changes nothing."""
        ...
