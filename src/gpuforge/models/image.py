"""Machine images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

__all__ = ["Image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A moving family resolved to one image.

    Attributes:
        id: What the provider calls exactly this image.
        family: The moving name it came from.
        framework: Such as ``pytorch-2.9``; empty for a plain system.
        cuda: Such as ``12.9``; empty when it has none.
        driver: NVIDIA driver branch, such as ``580``; empty when it has none.
        min_disk_gib: The smallest boot disk it fits on.
        deprecated: When its support ends or ended, if known.
    """

    provider: str
    id: str
    family: str
    framework: str
    cuda: str
    driver: str
    os: str
    arch: str
    created: date
    min_disk_gib: int = 10
    deprecated: date | None = None
