"""Providers by name: found through entry points, imported on use; a broken one never stops the others."""

from __future__ import annotations

import difflib
import logging
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from gpuforge.errors import ProviderError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

    from gpuforge.models.clock import Clock
    from gpuforge.providers.base import Provider
    from gpuforge.state.paths import Paths

__all__ = ["GROUP", "broken", "load", "names"]

GROUP = "gpuforge.providers"
_log = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    """Every provider that can be loaded, by name; each broken one is logged as a warning and left out."""
    reasons = broken()
    for name, reason in reasons.items():
        _log.warning("the provider %r cannot be imported: %s", name, reason)
    return tuple(name for name in _points() if name not in reasons)


def broken() -> dict[str, str]:
    """Providers that are installed and cannot be imported, with the reason."""
    reasons = {}
    for name, point in _points().items():
        try:
            _import(point)
        except ProviderError as error:
            reasons[name] = error.details
    return reasons


def load(name: str, *, paths: Paths, clock: Clock, environ: Mapping[str, str]) -> Provider:
    """The provider of this name, ready to be called.

    Args:
        name: As in ``infra`` and ``--infra``.
        paths: Where it may keep state of its own.
        clock: Its time.
        environ: Its settings and credentials.

    Raises:
        SpecError: There is no such provider.
        ProviderError: It is installed and cannot be imported.
    """
    points = _points()
    if name not in points:
        near = difflib.get_close_matches(name, points, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]}? " if near else ""
        raise SpecError(
            f"there is no provider {name!r}",
            details=f"{guess}installed: {', '.join(points) or 'none'}",
            resolution=f"write infra: {near[0] if near else 'fake'}, or install the package that brings it",
        )
    return _import(points[name])(paths=paths, clock=clock, environ=environ)


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def _import(point: EntryPoint) -> Callable[..., Provider]:
    try:
        factory: Callable[..., Provider] = point.load()
    except Exception as error:
        package = point.dist.name if point.dist else "its package"
        raise ProviderError(
            f"the provider {point.name!r} is installed and cannot be imported",
            details=f"{point.value} of {package}: {type(error).__name__}: {error}",
            resolution=f"reinstall or remove {package}",
        ) from error
    return factory
