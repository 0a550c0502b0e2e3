"""What a task needs from a machine, once the user's words are parsed."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

__all__ = ["Accelerator", "Bound", "CapacityType", "Mark", "Need", "Needs"]


class CapacityType(StrEnum):
    """How capacity is bought."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    RESERVED = "reserved"
    FLEX_START = "flex_start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where in the user's file something stands (1-based); ``snippet`` is the text written there."""

    file: str
    line: int
    column: int
    snippet: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU model and how many per node.

    ``name`` is canonical (``A100-80GB``) once the catalogue has seen it, and as written before.
    ``memory_gib`` is per GPU, ``None`` before the catalogue has seen it.
    """

    name: str
    count: int = 1
    memory_gib: int | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A range a number must lie in; ``None`` is open."""

    minimum: Decimal | None = None
    maximum: Decimal | None = None

    def admits(self, value: Decimal | float) -> bool:
        """Whether ``value`` lies within both ends."""
        number = Decimal(str(value))
        return (self.minimum is None or number >= self.minimum) and (
            self.maximum is None or number <= self.maximum
        )

    def __str__(self) -> str:
        if self.minimum is not None and self.minimum == self.maximum:
            return f"{self.minimum}"
        if self.maximum is None:
            return f"{self.minimum}+"
        return f"{self.minimum or ''}..{self.maximum}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One acceptable kind of node.

    Attributes:
        accelerators: Alternatives, any of them; empty means a machine without GPU is fine.
        accelerators_ordered: The alternatives are in order of preference (a list in the file);
            else the cheapest wins.
        cpus: vCPUs.
        memory_gib: GiB of memory.
        instance_type: Exactly this type.
        capacity_type: On demand unless asked otherwise.
        region: Exactly this region, or anywhere.
        zone: Exactly this zone, or anywhere.
        disk_gib: Size of the boot disk.
        image: Image name or family, or the provider's default deep-learning image.
        max_usd_per_hour: Offerings dearer than this are left out (whole gang).
        mark: Where the need was written.
    """

    accelerators: tuple[Accelerator, ...] = ()
    accelerators_ordered: bool = False
    cpus: Bound | None = None
    memory_gib: Bound | None = None
    instance_type: str | None = None
    capacity_type: CapacityType = CapacityType.ON_DEMAND
    region: str | None = None
    zone: str | None = None
    disk_gib: int = 50
    image: str | None = None
    max_usd_per_hour: Decimal | None = None
    mark: Mark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """All acceptable kinds of node; ``ordered`` means the first that can be had wins, else the cheapest."""

    alternatives: tuple[Need, ...]
    ordered: bool = False
