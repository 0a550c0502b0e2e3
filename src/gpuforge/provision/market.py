"""What ``gpus`` and ``images`` list: installed providers, and the tables shipped for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.catalog.catalog import shipped_offerings
from gpuforge.images.families import shipped_families
from gpuforge.images.select import family_rows, image_rows
from gpuforge.models.resources import CapacityType, Need
from gpuforge.providers import registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from gpuforge.images.select import ImageRow
    from gpuforge.models.offering import Offering
    from gpuforge.providers.base import Provider

__all__ = ["all_image_rows", "all_offerings"]


def all_offerings(load: Callable[[str], Provider], asked: str | None) -> tuple[Offering, ...]:
    """Everything that the provider ``asked`` sells; of every provider when none is asked.

    Args:
        load: Gives a provider by name.
        asked: A provider's name, installed or only known by a shipped table.
    """
    found: list[Offering] = []
    for name in _installed(asked):
        provider = load(name)
        for capacity in (CapacityType.ON_DEMAND, CapacityType.SPOT):
            found.extend(provider.list_offerings(Need(capacity_type=capacity)))
    for name, offerings in shipped_offerings().items():
        if asked in (None, name) and name not in registry.names():
            found.extend(offerings())
    return tuple(found)


def all_image_rows(
    load: Callable[[str], Provider], asked: str | None, text: str, *, today: date
) -> tuple[tuple[str, ImageRow], ...]:
    """Provider and row of every image, by the same rule; ``text`` keeps those that contain it."""
    rows: list[tuple[str, ImageRow]] = []
    for name in _installed(asked):
        rows += [(name, row) for row in image_rows(load(name).images or (), text, today=today)]
    for name, families in shipped_families().items():
        if asked in (None, name) and name not in registry.names():
            rows += [(name, row) for row in family_rows(families(), text)]
    return tuple(rows)


def _installed(asked: str | None) -> tuple[str, ...]:
    names = registry.names()
    if asked is None:
        return names
    shipped = {*shipped_offerings(), *shipped_families()}
    # an unknown name is loaded all the same: the registry words the refusal
    return () if asked in shipped and asked not in names else (asked,)
