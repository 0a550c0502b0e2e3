"""What can be rented: instance type × zone × capacity type, with a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from gpuforge.models.money import Price
    from gpuforge.models.resources import Accelerator, CapacityType

__all__ = ["Offering"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """One thing a provider sells.

    Attributes:
        price: Of the instance with its GPUs, per hour; ``None`` when nobody knows.
        disk_usd_per_gib_month: Of the boot disk; ``None`` when nobody knows.
        arch: ``x86_64`` or ``arm64``.
        restriction: Why it cannot be had this way (``not sold on demand``), or empty.
    """

    provider: str
    region: str
    zone: str
    instance_type: str
    accelerator: Accelerator | None
    vcpus: int
    memory_gib: Decimal
    capacity_type: CapacityType
    price: Price | None
    disk_usd_per_gib_month: Decimal | None
    arch: str = "x86_64"
    restriction: str = ""

    @property
    def key(self) -> str:
        """Names the stock: provider, zone, type and capacity type."""
        return f"{self.provider}/{self.zone}/{self.instance_type}/{self.capacity_type}"
