"""Launchers: what a job's processes find in their environment. Pure functions, nothing runs here.

A launcher never sets ``RANK``, ``LOCAL_RANK`` or ``WORLD_SIZE``: a script that finds them takes the
distributed path, and dies on one node.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gpuforge.errors import SpecError
from gpuforge.jobs.launchers import plain, torchrun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuforge.jobs.launchers.plain import Gang

__all__ = ["LAUNCHERS", "Launcher", "Wiring", "wire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What a launcher adds to the environment of ``run``.

    Attributes:
        env: Names and values.
        port_variables: Names that receive a free port of the head, chosen when everybody is ready.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    port_variables: tuple[str, ...] = ()


class Launcher(Protocol):
    """Environment and port names for one node of a gang."""

    def __call__(self, gang: Gang, rank: int, /) -> tuple[dict[str, str], tuple[str, ...]]:
        """Build them."""
        ...


LAUNCHERS: Mapping[str, Launcher] = {"plain": plain.environment, "torchrun": torchrun.environment}


def wire(launcher: str, gang: Gang, rank: int) -> Wiring:
    """What the named launcher adds on node ``rank``.

    Raises:
        SpecError: There is no such launcher.
    """
    build = LAUNCHERS.get(launcher)
    if build is None:
        raise SpecError(
            f"there is no launcher {launcher!r}", resolution=f"write one of: {', '.join(LAUNCHERS)}"
        )
    env, ports = build(gang, rank)
    return Wiring(env=env, port_variables=ports)
