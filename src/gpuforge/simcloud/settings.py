"""How quick the simulated cloud is and what its machines are made of; read from the environment given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from gpuforge.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Latency", "MachineMode", "SimSettings"]


class MachineMode(StrEnum):
    """What stands behind an instance."""

    PROCESSES = "processes"  # a supervisor with an SSH server
    NONE = "none"  # a row in the database: thousands of them, and clocks that are not real


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds that things take.

    Attributes:
        create_seconds: From the accepted create to RUNNING.
        boot_seconds: From RUNNING to a listening SSH server.
        delete_seconds: From the accepted delete to gone.
        soft_off_seconds: How long a preempted machine may take to power off by itself, at most.
    """

    create_seconds: float = 0.3
    boot_seconds: float = 0.2
    delete_seconds: float = 0.2
    soft_off_seconds: float = 30.0

    def scaled(self, factor: float) -> Latency:
        """Everything but the soft-off window, which is a limit and no wait, times ``factor``."""
        return replace(
            self,
            create_seconds=self.create_seconds * factor,
            boot_seconds=self.boot_seconds * factor,
            delete_seconds=self.delete_seconds * factor,
        )


# medians seen for a GPU machine on Compute Engine: accept to RUNNING, to SSH, and a delete
_REALISTIC = Latency(create_seconds=12.0, boot_seconds=40.0, delete_seconds=25.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings:
    """How a process meets the simulated cloud; other processes may meet the same one otherwise.

    Attributes:
        machines: What stands behind the instances this process creates.
        ssh_server: ``asyncssh`` or ``openssh``.
    """

    latency: Latency = Latency()
    machines: MachineMode = MachineMode.PROCESSES
    ssh_server: str = "asyncssh"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> SimSettings:
        """``GPUFORGE_FAKE_LATENCY``, ``GPUFORGE_FAKE_MACHINES`` and ``GPUFORGE_FAKE_SSHD``.

        Raises:
            SpecError: One of them has a value that means nothing.
        """
        machines = _choice(environ, "GPUFORGE_FAKE_MACHINES", tuple(MachineMode))
        return cls(
            latency=_latency(environ.get("GPUFORGE_FAKE_LATENCY", "")),
            machines=MachineMode(machines),
            ssh_server=_choice(environ, "GPUFORGE_FAKE_SSHD", ("asyncssh", "openssh")),
        )


def _choice(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = environ.get(name, "").strip().lower() or allowed[0]
    if value not in allowed:
        raise SpecError(
            f"{name} is {value!r}, which is not a setting of the simulated cloud",
            resolution=f"set it to {' or '.join(allowed)}, or unset it",
        )
    return value


def _latency(text: str) -> Latency:
    text = text.strip().lower()
    if not text:
        return Latency()
    if text == "realistic":
        return _REALISTIC
    try:
        factor = float(text)
    except ValueError:
        factor = -1.0
    if not 0 <= factor <= 10_000:
        raise SpecError(
            f"GPUFORGE_FAKE_LATENCY is {text!r}, which is not a factor",
            resolution="set it to a number (0 is no waiting, 1 the default), or to realistic",
        )
    return Latency().scaled(factor)
