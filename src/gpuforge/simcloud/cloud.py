"""The simulated cloud as its faces call it: every call first settles, then meets its fault, then acts."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gpuforge.simcloud import capacity, instances, operations, quota, spot
from gpuforge.simcloud.addresses import choose_network
from gpuforge.simcloud.creation import accept_create
from gpuforge.simcloud.database import Database
from gpuforge.simcloud.faults import Fate, Fault, Faults, is_armed, take
from gpuforge.simcloud.guest import GuestView, view_guest
from gpuforge.simcloud.instances import Status, by_keys, left_by
from gpuforge.simcloud.power import installed_control, tend
from gpuforge.simcloud.profile import Profile, load_profile
from gpuforge.simcloud.refusals import Code, SimError
from gpuforge.simcloud.reset import remove_cloud
from gpuforge.simcloud.rules import Rules
from gpuforge.simcloud.settings import SimSettings
from gpuforge.simcloud.settle import delete_instances, next_due, settle_rows
from gpuforge.simcloud.snapshot import as_it_was

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gpuforge.models.clock import Clock
    from gpuforge.simcloud.capacity import StockOut
    from gpuforge.simcloud.instances import Disk, InstanceRow, Key
    from gpuforge.simcloud.operations import Operation
    from gpuforge.simcloud.power import MachineControl
    from gpuforge.simcloud.quota import QuotaUse

__all__ = ["CloudListing", "SimCloud"]

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudListing:
    """What a list shows; ``complete`` is false when a zone did not answer."""

    instances: tuple[InstanceRow, ...]
    disks: tuple[Disk, ...]
    server_time: datetime
    complete: bool = True
    warnings: tuple[str, ...] = ()


class SimCloud:
    """One simulated cloud in one folder; any number of processes may hold it at once.

    Args:
        folder: Holds ``cloud.sqlite3`` and the machines; made when missing.
        clock: The cloud's own time; the real one where there are processes.
        settings: Latencies, and what stands behind the instances this process creates.
        profile: What is on sale.
        control: Starts and ends machines; the real one unless a test brings its own.
        draw: Where chance comes from.
        platform: As in ``sys.platform``; decides about addresses when the cloud is made.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        settings: SimSettings | None = None,
        profile: Profile | None = None,
        control: MachineControl | None = None,
        draw: random.Random | None = None,
        platform: str = sys.platform,
    ) -> None:
        self.folder = folder
        self.profile = profile or load_profile()
        self._clock = clock
        self._rules = Rules(
            profile=self.profile,
            settings=settings or SimSettings(),
            draw=draw or random.SystemRandom(),
        )
        self._given_control = control
        self._platform = platform
        self._database = Database(folder, first=self._first)
        self.faults = Faults(self._database)

    def close(self) -> None:
        """Let the file go; machines run on."""
        self._database.close()

    # ── the calls a client makes ───────────────────────────────────────────────────────────────────────

    def create(self, token: str, body: bytes) -> Operation:
        """Accept a gang; does not wait. A token that was seen answers with what it began.

        Raises:
            SimError: Refused, or no reply.
        """
        fault = self._meet("create")
        if fault.fate is Fate.LATE:
            self._postpone(fault, token=token, body=body)
        with self._database.write() as db:
            name = accept_create(db, self._rules, token=token, body=body, at=self._now())
            if fault.fate is Fate.OPERATION_ERROR:
                db.execute("UPDATE operations SET forced_error=? WHERE name=?", (fault.code, name))
        self.settle()
        fault.raise_after()
        return self.operation(name)

    def delete(self, keys: Sequence[Key]) -> None:
        """Accept a delete; does not wait. What is gone already is success; its left-over disks go too.

        Raises:
            SimError: Refused, or no reply.
        """
        fault = self._meet("delete")
        if fault.fate is Fate.LATE:
            body = json.dumps([(key.zone, key.name, key.id) for key in keys]).encode()
            self._postpone(fault, token="", body=body)
        if fault.fate is Fate.OPERATION_ERROR:
            return  # accepted, and then nothing came of it
        with self._database.write() as db:
            delete_instances(db, self._rules, keys, at=self._now(), keeps_disk=fault.fate is Fate.KEEPS_DISK)
        self.settle()
        fault.raise_after()

    def list_owned(self, owner: str) -> CloudListing:
        """All that carries this owner label."""
        fault = self._meet("list")
        with self._database.read() as db:
            rows = instances.by_owner(db, owner)
            disks = [x for x in instances.leftover_disks(db) if x.labels.get("gf-owner") == owner]
        return self._listing(rows, disks, fault)

    def list_keys(self, keys: Sequence[Key]) -> CloudListing:
        """Those of ``keys`` that live, in their order, and the disks they left behind."""
        fault = self._meet("list")
        with self._database.read() as db:
            rows = by_keys(db, keys)
            disks = [disk for disk in instances.leftover_disks(db) if any(left_by(disk, key) for key in keys)]
        return self._listing([row for row in rows if row is not None], disks, fault)

    def watch(self, keys: Sequence[Key], deadline: datetime) -> Iterator[list[InstanceRow | None]]:
        """Yield the instances, gone ones included, again and again until ``deadline``.

        Ids are taken at the first look, so a name that is used again later is not followed.
        """
        self._meet("wait")
        pause = _FIRST_PAUSE
        while True:
            self.settle()
            with self._database.read() as db:
                rows = by_keys(db, keys)
                due = next_due(db)
            keys = [
                replace(key, id=row.id) if row is not None else key
                for key, row in zip(keys, rows, strict=True)
            ]
            yield rows
            left = (deadline - self._clock.now()).total_seconds()
            if left <= 0:
                return
            until_due = left if due is None else max(0.001, due - self._now())
            self._clock.sleep(min(pause, left, until_due))
            pause = min(pause * 1.3, _LONGEST_PAUSE)

    def guest(self, key: Key) -> GuestView:
        """Guest attributes and console of an instance that lives.

        Raises:
            SimError: There is none.
        """
        self._meet("boot_report")
        with self._database.read() as db:
            row = by_keys(db, [key])[0]
            if row is None or row.status is Status.DELETED:
                raise SimError(Code.NOT_FOUND, f"there is no instance {key.name} in {key.zone}")
            return view_guest(db, self.folder, row, self._now())

    def operation(self, name: str) -> Operation:
        """An operation by its name.

        Raises:
            SimError: There is none.
        """
        self.settle()
        with self._database.read() as db:
            found = operations.get(db, name)
        if found is None:
            raise SimError(Code.NOT_FOUND, f"there is no operation {name}")
        return found

    # ── steering ───────────────────────────────────────────────────────────────────────────────────────

    def everything(self) -> list[InstanceRow]:
        """All instances that live."""
        self.settle()
        with self._database.read() as db:
            return instances.everything(db)

    def preempt(self, instance_id: str, *, notice_seconds: float = 30.0) -> None:
        """Take a spot instance back after a notice.

        Raises:
            SimError: No such instance, it is not spot, or it does not run.
        """
        self.settle()
        with self._database.write() as db:
            spot.preempt(db, instance_id, notice_seconds=notice_seconds, at=self._now())
        self.settle()

    def reboot(self, instance_id: str) -> None:
        """Restart an instance's guest.

        Raises:
            SimError: No such instance, or it does not run.
        """
        self.settle()
        with self._database.write() as db:
            spot.reboot(db, instance_id, at=self._now())

    def stockout(
        self,
        subject: str,
        *,
        zone: str | None = None,
        minutes: float = 10.0,
        capacity_type: str | None = None,
    ) -> list[StockOut]:
        """Nothing of a GPU model or instance type is to be had, in one zone or all, for a while.

        Raises:
            SimError: Nothing on sale is called so, or not there.
        """
        self.settle()
        until = (self._clock.now() + timedelta(minutes=minutes)).timestamp()
        with self._database.write() as db:
            return capacity.add_stockout(
                db, self.profile, subject, zone=zone, capacity_type=capacity_type, until=until
            )

    def stockouts(self) -> list[StockOut]:
        """Those that hold now."""
        self.settle()
        with self._database.read() as db:
            return capacity.stockouts(db, self._now())

    def clear_stockouts(self) -> int:
        """Everything is in stock again; returns how many stock-outs ended."""
        self.settle()
        with self._database.write() as db:
            return capacity.clear_stockouts(db)

    def set_stock(self, zone: str, instance_type: str, total: int) -> None:
        """At most ``total`` instances of the type in the zone at once."""
        self.profile.instance_type(instance_type, zone)
        self.settle()
        with self._database.write() as db:
            capacity.set_stock(db, zone, instance_type, total)

    def quotas(self) -> list[QuotaUse]:
        """Every limit with its use."""
        self.settle()
        with self._database.read() as db:
            return quota.quotas(db, self.profile)

    def set_quota(self, region: str, metric: str, units: int) -> None:
        """Set how many GPUs of a model, or vCPUs (``CPUS``), may be had in a region.

        Raises:
            SimError: No such region or metric.
        """
        self.settle()
        with self._database.write() as db:
            quota.set_quota(db, self.profile, region=region, metric=metric, units=units)

    def reset(self) -> int:
        """Kill every machine and forget everything; returns how many machines there were."""
        return remove_cloud(self._database, self._control)

    def settle(self) -> None:
        """Work out what time has done, then see to the machines. Idempotent."""
        now = self._now()
        with self._database.read() as db:
            due = next_due(db)
            has_machines = db.execute(
                "SELECT 1 FROM instances WHERE machines='processes' AND status!='DELETED' LIMIT 1"
            ).fetchone()
        if due is not None and due <= now:
            with self._database.write() as db:
                settle_rows(db, self._rules, now)
        if has_machines:
            tend(self._database, self._rules, self._control(), now)

    # ── within ─────────────────────────────────────────────────────────────────────────────────────────

    def _control(self) -> MachineControl:
        if self._given_control is None:
            self._given_control = installed_control()
        return self._given_control

    def _first(self, db: sqlite3.Connection) -> None:
        network = choose_network(self._rules.draw, self._platform)
        db.execute("INSERT INTO meta (key, value) VALUES ('network', ?)", (network,))

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _meet(self, call: str) -> Fault:
        self.settle()
        with self._database.read() as db:
            if not is_armed(db, call):
                return Fault(call=call, fate=Fate.NONE)
        with self._database.write() as db:
            fault = take(db, call)
        fault.raise_before()
        return fault

    def _postpone(self, fault: Fault, *, token: str, body: bytes) -> None:
        with self._database.write() as db:
            db.execute(
                "INSERT INTO late_requests (due, call, token, body) VALUES (?, ?, ?, ?)",
                (self._now() + fault.seconds, fault.call, token, body),
            )
        fault.raise_after()

    def _listing(self, rows: Sequence[InstanceRow], disks: Sequence[Disk], fault: Fault) -> CloudListing:
        now = self._now()
        seen_at = now - fault.seconds if fault.fate is Fate.STALE else now
        seen = [shown for row in rows if (shown := as_it_was(row, seen_at)) is not None]
        missing = fault.argument if fault.fate is Fate.INCOMPLETE else None
        skew = fault.seconds if fault.fate is Fate.SKEW else 0.0
        return CloudListing(
            instances=tuple(row for row in seen if row.zone != missing),
            disks=tuple(disk for disk in disks if disk.zone != missing),
            server_time=datetime.fromtimestamp(now + skew, UTC),
            complete=missing is None,
            warnings=(f"zone {missing} did not answer",) if missing else (),
        )
