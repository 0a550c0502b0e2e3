"""What the simulated cloud has on sale: regions, zones, instance types, prices and images.

A profile is two tables; ``sim`` is the small one of its own that ships with the ``fake`` provider.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gpuforge.catalog.catalog import read_offerings
from gpuforge.models.image import Image
from gpuforge.simcloud.refusals import Code, SimError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from gpuforge.models.offering import Offering
    from gpuforge.models.resources import Accelerator

__all__ = ["InstanceType", "Profile", "load_profile", "suggest"]

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """The shape of an instance type, the same in every zone."""

    name: str
    vcpus: int
    memory_gib: Decimal
    accelerator: Accelerator | None

    @property
    def quota_metric(self) -> str:
        """Which quota it uses: its GPU's name, or ``CPUS``."""
        return self.accelerator.name if self.accelerator else "CPUS"

    @property
    def quota_units(self) -> int:
        """How much of that quota one instance uses: GPUs, or vCPUs."""
        return self.accelerator.count if self.accelerator else self.vcpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything on sale, under the provider name its offerings carry."""

    offerings: tuple[Offering, ...]
    images: tuple[Image, ...]
    zones: Mapping[str, str]  # zone -> region
    types: Mapping[str, InstanceType]
    sold_in: frozenset[tuple[str, str]]  # (zone, instance type)
    restrictions: Mapping[tuple[str, str, str], str]  # (zone, instance type, capacity type) -> why not

    def region_of(self, zone: str) -> str:
        """The region that ``zone`` lies in.

        Raises:
            SimError: No such zone.
        """
        try:
            return self.zones[zone]
        except KeyError:
            raise SimError(Code.INVALID, f"there is no zone {zone}", hint=suggest(zone, self.zones)) from None

    def instance_type(self, name: str, zone: str) -> InstanceType:
        """A type that is sold in ``zone``.

        Raises:
            SimError: No such type, or not there.
        """
        found = self.types.get(name)
        if found is None:
            raise SimError(Code.INVALID, f"there is no instance type {name}", hint=suggest(name, self.types))
        if (zone, name) not in self.sold_in:
            raise SimError(Code.INVALID, f"{name} is not sold in {zone}")
        return found

    def image(self, image_id: str) -> Image:
        """The image of exactly this id.

        Raises:
            SimError: No such image.
        """
        for image in self.images:
            if image.id == image_id:
                return image
        raise SimError(
            Code.INVALID,
            f"there is no image {image_id}",
            hint=suggest(image_id, [image.id for image in self.images]),
        )

    def types_of(self, subject: str) -> tuple[str, ...]:
        """The instance types that ``subject``, a type or a GPU model, stands for.

        Raises:
            SimError: It stands for none.
        """
        names = tuple(
            kind.name
            for kind in self.types.values()
            if kind.name == subject or (kind.accelerator and kind.accelerator.name == subject)
        )
        if not names:
            gpus = {kind.accelerator.name for kind in self.types.values() if kind.accelerator}
            raise SimError(
                Code.INVALID,
                f"nothing on sale is called {subject}",
                hint=suggest(subject, [*sorted(gpus), *self.types]),
            )
        return names

    def regions(self) -> tuple[str, ...]:
        """Every region, in the table's order."""
        return tuple(dict.fromkeys(self.zones.values()))


@lru_cache(maxsize=4)
def load_profile(name: str = "sim", provider: str = "fake") -> Profile:
    """Read a profile's two tables.

    Args:
        name: ``<name>_offerings.csv`` and ``<name>_images.csv`` beside this module.
        provider: What offerings and images say they belong to.
    """
    offerings = read_offerings(_DATA / f"{name}_offerings.csv", provider)
    return Profile(
        offerings=offerings,
        images=_read_images(_DATA / f"{name}_images.csv", provider),
        zones={x.zone: x.region for x in sorted(offerings, key=lambda x: x.zone)},
        types={
            x.instance_type: InstanceType(
                name=x.instance_type,
                vcpus=x.vcpus,
                memory_gib=x.memory_gib,
                accelerator=x.accelerator,
            )
            for x in offerings
        },
        sold_in=frozenset((x.zone, x.instance_type) for x in offerings),
        restrictions={
            (x.zone, x.instance_type, x.capacity_type.value): x.restriction
            for x in offerings
            if x.restriction
        },
    )


def suggest(word: str, known: Iterable[str]) -> str:
    """``did you mean …?`` where something looks alike, else what there is."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"there is: {', '.join(names)}"


def _read_images(path: Path, provider: str) -> tuple[Image, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(
            Image(
                provider=provider,
                id=row["id"],
                family=row["family"],
                framework=row["framework"],
                cuda=row["cuda"],
                driver=row["driver"],
                os=row["os"],
                arch=row["arch"],
                created=date.fromisoformat(row["created"]),
                min_disk_gib=int(row["min_disk_gib"]),
                deprecated=date.fromisoformat(row["deprecated"]) if row["deprecated"] else None,
            )
            for row in rows
        )
