"""Deep-learning image families: what their names say, and which are current, old or gone.

A family's name tells its framework, CUDA, system and driver, such as
``pytorch-2-9-cu129-ubuntu-2404-nvidia-580``. The table is ``data/gce_image_families.csv``.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Family", "FamilyName", "gce_families", "parse_family", "retired", "shipped_families"]

_TABLE = Path(__file__).parent / "data" / "gce_image_families.csv"
_CUDA = re.compile(r"(?:^|-)cu(\d{2})(\d)(?:-|$)")
_DRIVER = re.compile(r"(?:^|-)nvidia-(\d{3,})(?:-|$)")
_SYSTEM = re.compile(r"(?:^|-)(ubuntu|debian|rocky)-(\d+)(?:-|$)")
_BARE_UBUNTU = re.compile(r"^ubuntu-accelerator-(\d{4})-")
_FRAMEWORK = re.compile(r"^(pytorch|tf|jax)-(\d+)-(\d+)(?:-|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyName:
    """What a family's name tells; an empty text is not told.

    Attributes:
        framework: Such as ``pytorch-2.9``.
        cuda: Such as ``12.9``.
        driver: NVIDIA driver branch, such as ``580``.
        os: Such as ``ubuntu-24.04``.
    """

    framework: str
    cuda: str
    driver: str
    os: str
    arch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One row of the table.

    Attributes:
        name: Family, or a pattern for a group of old ones.
        status: ``current``, ``old`` (no more patches), or ``retired``.
        end_of_patch: Last day of security patches, if known.
        end_of_availability: Last day it can be used for new machines, if known.
        note: What the source says of it.
    """

    project: str
    name: str
    status: str
    end_of_patch: date | None
    end_of_availability: date | None
    note: str
    source: str

    @property
    def told(self) -> FamilyName:
        """What the name tells."""
        return parse_family(self.name)


def parse_family(name: str) -> FamilyName:
    """Read a family's name.

    >>> told = parse_family("pytorch-2-9-cu129-ubuntu-2404-nvidia-580")
    >>> told.framework, told.cuda, told.driver, told.os, told.arch
    ('pytorch-2.9', '12.9', '580', 'ubuntu-24.04', 'x86_64')
    """
    framework = _FRAMEWORK.search(name)
    cuda = _CUDA.search(name)
    driver = _DRIVER.search(name)
    return FamilyName(
        framework=f"{framework[1]}-{framework[2]}.{framework[3]}" if framework else "",
        cuda=f"{cuda[1]}.{cuda[2]}" if cuda else "",
        driver=driver[1] if driver else "",
        os=_system(name),
        arch="arm64" if re.search(r"-(?:arm64|aarch64)(?:-|$)", name) else "x86_64",
    )


def _system(name: str) -> str:
    bare = _BARE_UBUNTU.search(name)
    found = _SYSTEM.search(name)
    system, version = ("ubuntu", bare[1]) if bare else (found[1], found[2]) if found else ("", "")
    if len(version) == 4:
        version = f"{version[:2]}.{version[2:]}"
    return f"{system}-{version}" if system else ""


@lru_cache(maxsize=1)
def gce_families() -> tuple[Family, ...]:
    """The shipped table, current families first."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        records = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(
            Family(
                project=record["project"],
                name=record["family"],
                status=record["status"],
                end_of_patch=_day(record["end_of_patch"]),
                end_of_availability=_day(record["end_of_availability"]),
                note=record["note"],
                source=record["source"],
            )
            for record in records
        )


def shipped_families() -> Mapping[str, Callable[[], tuple[Family, ...]]]:
    """The tables shipped for clouds, by provider name; each is read when called."""
    return {"gcp": gce_families}


def retired(name: str) -> Family | None:
    """The retired family that ``name`` belongs to, if it does (``tf-2-15-cu121`` is one of ``tf-*``)."""
    asked = name.casefold().replace(".", "-")
    return next((f for f in gce_families() if f.status == "retired" and fnmatchcase(asked, f.name)), None)


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
