"""What every change of the simulated cloud needs besides its rows: what is on sale, latencies, new ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from gpuforge.simcloud.profile import Profile
    from gpuforge.simcloud.settings import SimSettings

__all__ = ["Rules"]

_SMALLEST_ID = 10**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Passed to every step; ``draw`` is where chance comes from."""

    profile: Profile
    settings: SimSettings
    draw: random.Random

    def new_id(self) -> str:
        """A numeric id of 19 digits, as text; never given twice."""
        return str(self.draw.randrange(_SMALLEST_ID, 9 * _SMALLEST_ID))
