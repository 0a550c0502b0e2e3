"""The process behind one simulated machine: boots it, watches what its cloud wants of it, and powers it off.

It needs nobody to end it: it powers off by itself at the deadline, on a preemption, when it is deleted, when
its row is gone, and when its guest says so. Started by :mod:`gpuforge.simcloud.machines.control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import importlib
import json
import os
import signal
import sqlite3
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gpuforge.errors import GpuforgeError, StateError
from gpuforge.models.clock import SystemClock
from gpuforge.simcloud.machines import processes, specfile
from gpuforge.simcloud.machines.link import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gpuforge.models.clock import Clock
    from gpuforge.simcloud.machines.link import Desired, MachineLink, MachineSpec
    from gpuforge.simcloud.machines.machine import Machine

__all__ = ["GuestWish", "PowerOff", "Reboot", "Supervisor", "decide", "load_link", "main"]

_POLL_SECONDS = 0.25
_SOFT_OFF_SECONDS = 2.0
# as long as Compute Engine gives a preempted machine; the cloud's settling ends a scaled one sooner
_PREEMPTION_SECONDS = 30.0
_LINK_ERRORS = (GpuforgeError, sqlite3.Error, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOff:
    """The machine ends now.

    Attributes:
        grace_seconds: Between SIGTERM and SIGKILL; none when its row is gone.
    """

    reason: str
    grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reboot:
    """The machine boots again; ``count`` is the cloud's number of it, ``None`` when the guest asked."""

    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestWish:
    """What the guest asked for with ``shutdown`` or its like."""

    action: str
    due: datetime


def decide(
    desired: Desired, now: datetime, *, reboots_done: int, guest: GuestWish | None
) -> PowerOff | Reboot | None:
    """What to do now; the first reason that holds, the most final first."""

    def past(moment: datetime | None) -> bool:
        return moment is not None and now >= moment

    asked = guest.action if guest is not None and past(guest.due) else ""
    reboots = desired.wanted is Wanted.REBOOT and desired.reboot_count != reboots_done
    reasons: list[tuple[bool, PowerOff | Reboot]] = [
        (desired.wanted is Wanted.GONE, PowerOff(reason="deleted", grace_seconds=0)),
        (past(desired.deadline), PowerOff(reason="deadline", grace_seconds=_SOFT_OFF_SECONDS)),
        (past(desired.preempt_at), PowerOff(reason="preempted", grace_seconds=_PREEMPTION_SECONDS)),
        (desired.wanted is Wanted.STOP, PowerOff(reason="stopped", grace_seconds=_PREEMPTION_SECONDS)),
        (asked == "poweroff", PowerOff(reason="guest", grace_seconds=_SOFT_OFF_SECONDS)),
        (reboots, Reboot(count=desired.reboot_count)),
        (asked == "reboot", Reboot(count=None)),
    ]
    return next((step for holds, step in reasons if holds), None)


def notice_shows(desired: Desired, now: datetime) -> bool:
    """Whether a preemption is announced by now."""
    moments = [moment for moment in (desired.notice_at, desired.preempt_at) if moment is not None]
    return bool(moments) and now >= min(moments)


class Supervisor:
    """Runs one machine until something ends it.

    Also what the machine's metadata service speaks to (:class:`gpuforge.simcloud.machines.machine.Cloud`).
    """

    def __init__(self, spec: MachineSpec, cloud_folder: Path, link: MachineLink, clock: Clock) -> None:
        self._spec = spec
        self._cloud_folder = cloud_folder
        self._link = link
        self._clock = clock
        self._guest: GuestWish | None = None
        self._ended_from_outside = False
        self._desired: Desired | None = None
        self._reboots_done = -1
        self._noticed = False
        self._wake = asyncio.Event()
        # the link's database connection belongs to one thread, and no disk is waited for in the event loop
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="link")

    async def publish(self, key: str, value: str) -> None:
        """Carry a guest attribute to the cloud."""
        await self._tell(self._link.publish, self._spec.instance_id, key, value)

    async def self_delete(self) -> None:
        """Carry the guest's wish to be deleted to the cloud."""
        await self._tell(self._link.self_delete, self._spec.instance_id)

    def power(self, action: str, after_seconds: float) -> None:
        """Remember what the guest asked for; ``cancel`` forgets it."""
        due = self._clock.now() + timedelta(seconds=after_seconds)
        self._guest = None if action == "cancel" else GuestWish(action=action, due=due)
        self._wake.set()

    def end(self) -> None:
        """The host shuts down, or somebody ended the supervisor kindly."""
        self._ended_from_outside = True
        self._wake.set()

    async def run(self) -> None:
        """From power-on to power-off."""
        from gpuforge.simcloud.machines.children import Children  # noqa: PLC0415 - only here
        from gpuforge.simcloud.machines.machine import Machine  # noqa: PLC0415 - heavy

        children = Children()
        marker = specfile.read_marker(self._spec.folder, self._spec.instance_id)
        if marker is None:
            raise StateError(f"{self._spec.folder} has no marker")
        machine = Machine(
            spec=self._spec,
            cloud_folder=self._cloud_folder,
            marker=marker,
            cloud=self,
            children=children,
            clock=self._clock,
        )
        polling = asyncio.create_task(self._poll(machine))
        off = PowerOff(reason="failed", grace_seconds=0)
        try:
            off = await self._live(machine)
        finally:
            polling.cancel()
            await machine.power_off(grace_seconds=off.grace_seconds, reason=off.reason)
            await self._tell(self._link.powered_off, self._spec.instance_id, off.reason)
            children.close()
            self._thread.shutdown()

    async def _tell(self, call: Callable[..., Any], *words: object, **named: object) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: call(*words, **named))

    async def _poll(self, machine: Machine) -> None:
        """Keep what is wanted fresh; while the cloud is silent its last word stands, deadline included."""
        said = ""
        while True:
            try:
                fresh: Desired = await self._tell(self._link.desired, self._spec.instance_id)
            except _LINK_ERRORS as error:
                if str(error) != said:
                    said = str(error)
                    machine.console.service("gpuforge", f"the cloud does not answer: {error}")
            else:
                said = ""
                if fresh != self._desired:
                    self._desired = fresh
                    self._wake.set()
            await asyncio.sleep(_POLL_SECONDS)

    async def _live(self, machine: Machine) -> PowerOff:
        boot = asyncio.create_task(self._boot(machine, first=True, count=None))
        try:
            while True:
                step = self._step()
                if isinstance(step, PowerOff):
                    return step
                if boot.done() and boot.exception() is not None:
                    return self._failed(machine, boot.exception())
                if boot.done():
                    await self._notice(machine)
                    if isinstance(step, Reboot):
                        self._guest = None
                        boot = asyncio.create_task(self._reboot(machine, step))
                await self._doze(boot)
        finally:
            boot.cancel()
            await asyncio.wait([boot])

    def _step(self) -> PowerOff | Reboot | None:
        if self._ended_from_outside:
            return PowerOff(reason="host", grace_seconds=_SOFT_OFF_SECONDS)
        if self._desired is None:
            return None
        if self._reboots_done < 0:
            # what was rebooted before this supervisor started is done
            self._reboots_done = self._desired.reboot_count
        return decide(self._desired, self._clock.now(), reboots_done=self._reboots_done, guest=self._guest)

    async def _doze(self, boot: asyncio.Task[None]) -> None:
        """Until something changed, or a little while: the wall clock may jump, so it is asked often."""
        woken = asyncio.create_task(self._wake.wait())
        waited = {woken} if boot.done() else {woken, boot}
        await asyncio.wait(waited, timeout=self._pause(), return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        self._wake.clear()

    def _pause(self) -> float:
        due = [self._guest.due] if self._guest is not None else []
        if self._desired is not None:
            moments = (self._desired.deadline, self._desired.preempt_at, self._desired.notice_at)
            due += [moment for moment in moments if moment is not None]
        now = self._clock.now()
        left = [(moment - now).total_seconds() for moment in due if moment > now]
        return min([_POLL_SECONDS, *left])

    async def _notice(self, machine: Machine) -> None:
        if not self._noticed and self._desired and notice_shows(self._desired, self._clock.now()):
            self._noticed = True
            await machine.announce_preemption()

    async def _boot(self, machine: Machine, *, first: bool, count: int | None) -> None:
        host, port = await machine.boot()
        if first:
            await self._tell(self._link.booted, self._spec.instance_id, pid=os.getpid(), host=host, port=port)
        elif count is not None:
            await self._tell(self._link.rebooted, self._spec.instance_id, count)

    async def _reboot(self, machine: Machine, step: Reboot) -> None:
        if step.count is not None:
            self._reboots_done = step.count
        await machine.power_off(grace_seconds=_SOFT_OFF_SECONDS, reason="reboot")
        machine.console.restarted()
        self._noticed = False
        await self._boot(machine, first=False, count=step.count)

    def _failed(self, machine: Machine, error: BaseException | None) -> PowerOff:
        machine.console.service("gpuforge", f"boot failed: {error}")
        traceback.print_exception(error)
        return PowerOff(reason="boot failed", grace_seconds=0)


def load_link(name: str, cloud_folder: Path) -> MachineLink:
    """The cloud's side of the link: ``module:Class``, made from the cloud's folder.

    Raises:
        StateError: There is no such class.
    """
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise StateError(f"{name} is no link to a cloud", details=str(error)) from error
    return cast("MachineLink", factory(cloud_folder))


def _preload() -> None:
    """Import what every machine needs once, before the forks, so that they share it."""
    for name in ("children", "machine", "metadata", "sshd_asyncssh", "sshd_openssh"):
        importlib.import_module(f"gpuforge.simcloud.machines.{name}")
    gc.collect()
    gc.freeze()


def main(words: str) -> int:
    """Fork one guard, and from it one supervisor, for each machine of the order; print their pids, and end.

    A fork instead of a process each saves the imports; leaving them behind makes them nobody's children, so
    no caller has to bury them.
    """
    order = json.loads(words)
    machines = order["machines"]
    if len(machines) > 1:
        _preload()
    pids = []
    for machine in machines:
        readable, writable = os.pipe()
        if os.fork() == 0:
            os.close(readable)
            for other in machines:
                if other is not machine:
                    os.close(other["lock"])
            return _guard(
                Path(machine["folder"]), Path(order["cloud"]), order["link"], machine["lock"], writable
            )
        os.close(writable)
        with os.fdopen(readable, "rb") as pipe:
            pids.append(int(pipe.read()))
    sys.stdout.write(json.dumps(pids))
    return 0


def _guard(folder: Path, cloud_folder: Path, link_name: str, lock: int, pids: int) -> int:
    """Stay above the supervisor, and once it has ended, whichever way, end what it left.

    A daemon that left its session and cleared its environment belongs to nobody but its ancestors: while its
    supervisor lives that is the supervisor, and after a ``kill -9`` of that one it is the guard.
    """
    os.setsid()
    processes.become_subreaper()
    pid = os.fork()
    if pid == 0:
        os.close(pids)
        return _supervise(folder, cloud_folder, link_name, lock)
    _leave_to(folder)
    os.close(lock)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    specfile.write_record(folder / "supervisor.json", pid=pid, ticks=processes.start_ticks(pid))
    me = os.getpid()
    specfile.write_record(folder / "guard.json", pid=me, ticks=processes.start_ticks(me))
    os.write(pids, str(pid).encode())
    os.close(pids)
    os.waitpid(pid, 0)
    processes.kill_all(lambda: processes.descendants(processes.process_table(), [me]), on_pass=_bury)
    return 0


def _bury() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _detach(folder: Path, lock: int) -> None:
    os.setsid()
    # children must not hold the lock that says we live
    fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    _leave_to(folder)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        # under nohup or a shell's `&` they are ignored, and children would inherit that
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # ours alone: Python gives children the default back


def _leave_to(folder: Path) -> None:
    """Let go of whoever started us: folder and streams are the machine's from now on."""
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(folder / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (null, 1), (log, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(log)


def _supervise(folder: Path, cloud_folder: Path, link_name: str, lock: int) -> int:
    _detach(folder, lock)
    processes.become_subreaper()
    spec = specfile.read_spec(folder)
    asyncio.run(_run(spec, cloud_folder, load_link(link_name, cloud_folder)))
    return 0


async def _run(spec: MachineSpec, cloud_folder: Path, link: MachineLink) -> None:
    supervisor = Supervisor(spec, cloud_folder, link, SystemClock())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.end)
    with contextlib.suppress(asyncio.CancelledError):
        await supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
