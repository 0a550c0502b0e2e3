"""What clouds sell, read from tables: CSV rows to offerings.

One table format serves the shipped GCE table and the simulated cloud's own small profile. A row is an
instance type in a region; its columns are :data:`COLUMNS`:

``instance_type``, ``region``, ``zones`` (separated by spaces), ``vcpus``, ``memory_gib``, ``accelerator``
(a name or alias, empty for none), ``accelerator_count``, ``arch`` (empty is ``x86_64``),
``on_demand_usd_hr``, ``spot_usd_hr``, ``disk_usd_gib_month`` (empty is unknown), ``restriction``
(``on_demand: not sold on demand; spot: …``, or one text for every capacity type), ``as_of`` and ``source``
(empty means the file's own, from its heading lines ``# as_of: 2026-07-30`` and ``# source: …``).

Lines that begin with ``#`` are comments. Every row becomes an on-demand and a spot offering in each zone.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gpuforge.catalog.accelerators import UnknownAccelerator, lookup
from gpuforge.catalog.summary import GpuRow, summarise
from gpuforge.errors import StateError
from gpuforge.models.money import Price
from gpuforge.models.offering import Offering
from gpuforge.models.resources import Accelerator, CapacityType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = [
    "COLUMNS",
    "GCE_OFFERINGS",
    "SOLD",
    "CatalogRow",
    "GpuRow",
    "gce_offerings",
    "read_offerings",
    "read_rows",
    "shipped_offerings",
    "summarise",
]

COLUMNS = (
    "instance_type",
    "region",
    "zones",
    "vcpus",
    "memory_gib",
    "accelerator",
    "accelerator_count",
    "arch",
    "on_demand_usd_hr",
    "spot_usd_hr",
    "disk_usd_gib_month",
    "restriction",
    "as_of",
    "source",
)
GCE_OFFERINGS = Path(__file__).parent / "data" / "gce_offerings.csv"

# the capacity types that tables have prices for
SOLD = (CapacityType.ON_DEMAND, CapacityType.SPOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRow:
    """One instance type in one region, as a table has it.

    Attributes:
        prices: USD per hour by capacity type; a missing one is unknown.
        restrictions: Why it cannot be had in a capacity type; a missing one means it can.
    """

    instance_type: str
    region: str
    zones: tuple[str, ...]
    vcpus: int
    memory_gib: Decimal
    accelerator: Accelerator | None
    arch: str
    prices: Mapping[CapacityType, Price]
    restrictions: Mapping[CapacityType, str]
    disk_usd_per_gib_month: Decimal | None

    def offerings(self, provider: str) -> Iterator[Offering]:
        """An on-demand and a spot offering in each zone."""
        for zone in self.zones:
            for capacity in SOLD:
                yield Offering(
                    provider=provider,
                    region=self.region,
                    zone=zone,
                    instance_type=self.instance_type,
                    accelerator=self.accelerator,
                    vcpus=self.vcpus,
                    memory_gib=self.memory_gib,
                    capacity_type=capacity,
                    price=self.prices.get(capacity),
                    disk_usd_per_gib_month=self.disk_usd_per_gib_month,
                    arch=self.arch,
                    restriction=self.restrictions.get(capacity, ""),
                )


def read_offerings(path: Path, provider: str) -> tuple[Offering, ...]:
    """Every offering of a table, in the table's order.

    Args:
        path: A CSV file with :data:`COLUMNS`.
        provider: Whose offerings they are.

    Raises:
        StateError: The file is not such a table; names the line.
    """
    return tuple(offering for row in read_rows(path) for offering in row.offerings(provider))


@lru_cache(maxsize=1)
def gce_offerings() -> tuple[Offering, ...]:
    """The shipped GCE table as offerings of ``gcp``; read once."""
    return read_offerings(GCE_OFFERINGS, "gcp")


def shipped_offerings() -> Mapping[str, Callable[[], tuple[Offering, ...]]]:
    """The tables shipped for clouds, by provider name; each is read when called."""
    return {"gcp": gce_offerings}


def read_rows(path: Path) -> Iterator[CatalogRow]:
    """The rows of a table, one by one.

    Raises:
        StateError: The file is not such a table; names the line.
    """
    with path.open(encoding="utf-8", newline="") as file:
        heading: dict[str, str] = {}
        reader = csv.DictReader(_without_comments(file, heading))
        missing = [name for name in COLUMNS[:-2] if name not in (reader.fieldnames or ())]
        if missing:
            raise StateError(
                f"{path.name} is not a table of offerings",
                details=f"missing columns: {', '.join(missing)}",
                resolution="reinstall gpuforge, or correct the table",
            )
        for record in reader:
            try:
                yield _row(record, heading)
            except (ValueError, InvalidOperation, UnknownAccelerator, TypeError) as error:
                raise StateError(
                    f"{path.name} has a row that cannot be read",
                    details=f"{record['instance_type']} in {record['region']}: {error}",
                    resolution="reinstall gpuforge, or correct the table",
                ) from error


def _without_comments(lines: Iterable[str], heading: dict[str, str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("#"):
            key, colon, value = line[1:].partition(":")
            if colon:
                heading.setdefault(key.strip(), value.strip())
        else:
            yield line


def _row(record: Mapping[str, str], heading: Mapping[str, str]) -> CatalogRow:
    as_of = _day(record.get("as_of") or heading.get("as_of", ""))
    source = record.get("source") or heading.get("source", "")
    prices = {
        capacity: Price(usd_per_hour=amount, as_of=as_of, source=source)
        for capacity, column in zip(SOLD, ("on_demand_usd_hr", "spot_usd_hr"), strict=True)
        if (amount := _decimal(record[column])) is not None
    }
    return CatalogRow(
        instance_type=record["instance_type"],
        region=record["region"],
        zones=tuple(record["zones"].split()),
        vcpus=int(record["vcpus"]),
        memory_gib=Decimal(record["memory_gib"]),
        accelerator=_accelerator(record["accelerator"], record["accelerator_count"]),
        arch=record["arch"] or "x86_64",
        prices=prices,
        restrictions=_restrictions(record["restriction"]),
        disk_usd_per_gib_month=_decimal(record["disk_usd_gib_month"]),
    )


@lru_cache(maxsize=256)
def _accelerator(name: str, count: str) -> Accelerator | None:
    if not name:
        return None
    facts = lookup(name)
    return Accelerator(facts.name, int(count), facts.memory_gib)


@lru_cache(maxsize=64)
def _restrictions(text: str) -> Mapping[CapacityType, str]:
    found: dict[CapacityType, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        kind, colon, reason = part.partition(":")
        if colon and kind.strip() in {str(capacity) for capacity in CapacityType}:
            found[CapacityType(kind.strip())] = reason.strip()
        else:
            found.update(dict.fromkeys(SOLD, part))
    return found


@lru_cache(maxsize=64)
def _day(text: str) -> date:
    return date.fromisoformat(text)


@lru_cache(maxsize=4096)
def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if text else None
