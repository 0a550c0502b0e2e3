"""A small cloud in memory that keeps real state, and everything provisioning needs around it.

It answers by the provider contract: tokens, unique names, ids, deadlines; faults are planned per call.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gpuforge.errors import CapacityError, ConflictError, NotFoundError, ProviderUnavailableError
from gpuforge.models.ids import request_token
from gpuforge.models.image import Image
from gpuforge.models.instance import (
    Accepted,
    BootReport,
    Disk,
    HostKey,
    Instance,
    InstanceRef,
    InstanceState,
    Listing,
    PreparedCreate,
    Route,
)
from gpuforge.models.money import Price
from gpuforge.models.offering import Offering
from gpuforge.models.plan import Excluded, Option, Plan
from gpuforge.models.resources import Accelerator, CapacityType, Need
from gpuforge.provision.context import Context, Limits
from gpuforge.state.journal import Journal
from gpuforge.state.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuforge.testing.clock import ManualClock

OWNER = "ada-laptop"


def host_key(seed: str) -> HostKey:
    raw = seed.encode().ljust(32, b".")[:32]
    blob = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + raw
    return HostKey(kind="ssh-ed25519", blob=base64.b64encode(blob).decode())


@dataclass
class Vm:
    ref: InstanceRef
    body: dict
    created: datetime
    deadline: datetime | None
    state: InstanceState = InstanceState.PENDING
    reason: str = ""
    polls: int = 0

    def show(self) -> Instance:
        return Instance(
            ref=self.ref,
            state=self.state,
            instance_type=self.body["type"],
            capacity_type="on_demand",
            created=self.created,
            deadline=self.deadline,
            labels=self.body["labels"],
            addresses=("127.0.0.9",),
            reason=self.reason,
        )


@dataclass
class MemoryCloud:
    """Implements ``gpuforge.providers.base.Provider``.

    ``plan_fault(method, error, applied=…)`` makes the next calls of a method fail, before or after they took
    effect; ``late`` creates land when ``deliver`` is called.
    """

    clock: ManualClock
    name: str = "fake"
    simulated: bool = True
    power: None = None
    vms: list[Vm] = field(default_factory=list)
    disks: list[Disk] = field(default_factory=list)
    tokens: dict[str, tuple[bytes, list[Vm]]] = field(default_factory=dict)
    refused_tokens: dict[str, Exception] = field(default_factory=dict)
    late: list[PreparedCreate] = field(default_factory=list)
    calls: list[tuple] = field(default_factory=list)
    faults: dict = field(default_factory=lambda: defaultdict(list))
    sold_out: set[str] = field(default_factory=set)  # zones
    boot_polls: int = 2
    skew: float = 0.0
    complete: bool = True
    grants_deadline: bool = True
    gives_ids: bool = True
    undeletable: set[str] = field(default_factory=set)
    hides: set[str] = field(default_factory=set)
    console: str = "kernel: all is well"
    keys: Callable = host_key
    _ids: itertools.count = field(default_factory=lambda: itertools.count(1000))

    # -- faults

    def plan_fault(self, method, error, *, applied=False, times=1):
        self.faults[method] += [(error, applied)] * times

    def _enter(self, method, *arguments):
        self.calls.append((method, *arguments))
        self.settle()
        if self.faults[method]:
            error, applied = self.faults[method].pop(0)
            if not applied:
                if callable(error):
                    return error()
                raise error
            return error
        return None

    def settle(self):
        for vm in self.vms:
            if vm.deadline is not None and self.now() >= vm.deadline:
                vm.state = InstanceState.GONE

    def now(self):
        return self.clock.now() + timedelta(seconds=self.skew)

    def living(self):
        self.settle()
        return [vm for vm in self.vms if vm.state is not InstanceState.GONE]

    def deliver(self):
        """Requests that were under way land now."""
        for prepared in self.late:
            self._apply(prepared)
        self.late.clear()

    # -- the port

    def list_offerings(self, need):
        return ()

    def resolve_image(self, query):
        raise NotFoundError("none")

    def preflight(self):
        return ()

    def prepare_create(self, request):
        body = json.dumps(
            {
                "type": request.offering.instance_type,
                "labels": dict(request.labels),
                "deadline": request.deadline.isoformat(),
                "key": request.ssh_public_key,
                "user": request.user,
            },
            sort_keys=True,
        ).encode()
        return PreparedCreate(
            provider=self.name,
            region=request.offering.region,
            zone=request.offering.zone,
            names=request.names,
            token=request_token(request.names[0], body),
            body=body,
            deadline=request.deadline,
        )

    def create(self, prepared):
        after = self._enter("create", prepared)
        accepted = self._apply(prepared)
        if after is not None:
            raise after
        return accepted

    def _apply(self, prepared):
        known = self.tokens.get(prepared.token)
        if known is not None:
            if known[0] != prepared.body:
                raise ConflictError("the token came with another body")
            return self._accepted(known[1])
        if prepared.zone in self.sold_out:
            raise CapacityError(f"{prepared.zone} is sold out")
        if any(vm.ref.name in prepared.names for vm in self.living()):
            raise ConflictError("the name is taken")
        body = json.loads(prepared.body)
        deadline = datetime.fromisoformat(body["deadline"]) if self.grants_deadline else None
        made = [
            Vm(
                ref=InstanceRef(
                    provider=self.name,
                    region=prepared.region,
                    zone=prepared.zone,
                    name=name,
                    instance_id=str(next(self._ids)),
                ),
                body=body,
                created=self.now(),
                deadline=deadline,
            )
            for name in prepared.names
        ]
        self.vms += made
        self.tokens[prepared.token] = (prepared.body, made)
        return self._accepted(made)

    def _accepted(self, made):
        refs = [vm.ref if self.gives_ids else replace(vm.ref, instance_id=None) for vm in made]
        return Accepted(refs=tuple(refs), operation="operation-1")

    def _find(self, ref):
        for vm in reversed(self.vms):
            if vm.ref.name == ref.name and ref.instance_id in (None, vm.ref.instance_id):
                return vm
        return None

    def wait(self, refs, until, deadline):
        after = self._enter("wait", refs, until)
        found = [self._find(ref) for ref in refs]
        if until is InstanceState.RUNNING:
            for vm in found:
                if vm is None:
                    raise NotFoundError("no such instance")
                if vm.state is InstanceState.PENDING:
                    vm.state = InstanceState.RUNNING
        if after is not None:
            raise after
        if until is InstanceState.GONE:
            if any(vm is None for vm in found):
                raise NotFoundError("no such instance")
            if any(vm.state is not InstanceState.GONE for vm in found):
                self.clock.advance(max(0.0, (deadline - self.clock.now()).total_seconds()))
                raise ProviderUnavailableError("still there")
        return tuple(vm.show() for vm in found)

    def list(self, selector):
        self._enter("list", selector)
        if selector.owner is not None:
            seen = [vm for vm in self.vms if vm.body["labels"].get("gf-owner") == selector.owner]
        else:
            seen = [vm for ref in selector.refs if (vm := self._find(ref)) is not None]
        return Listing(
            instances=tuple(vm.show() for vm in seen if vm.ref.name not in self.hides),
            disks=tuple(self.disks),
            server_time=self.now(),
            complete=self.complete,
            warnings=() if self.complete else ("zone-z did not answer",),
        )

    def delete(self, refs):
        after = self._enter("delete", refs)
        for ref in refs:
            vm = self._find(ref)
            if vm is not None and vm.ref.name not in self.undeletable:
                vm.state = InstanceState.GONE
        if after is not None:
            raise after

    def boot_report(self, ref):
        self._enter("boot_report", ref)
        vm = self._find(ref)
        if vm is None:
            raise NotFoundError("no such instance")
        vm.polls += 1
        ready = vm.polls > self.boot_polls
        return BootReport(
            instance=vm.show(),
            host_keys=(self.keys(vm.ref.name),) if ready else None,
            route=Route(host="127.0.0.9", port=22, user="ubuntu") if ready else None,
            console_tail=self.console,
            capped_gpus=2,
        )


def offering(zone="sim-a-1", **changes) -> Offering:
    facts = {
        "provider": "fake",
        "region": zone.rpartition("-")[0],
        "zone": zone,
        "instance_type": "sim-l4",
        "accelerator": Accelerator("L4", 4, 24),
        "vcpus": 4,
        "memory_gib": Decimal("16.5"),
        "capacity_type": CapacityType.ON_DEMAND,
        "price": Price(usd_per_hour=Decimal("0.71"), as_of=date(2026, 7, 30), source="a test"),
        "disk_usd_per_gib_month": Decimal("0.1"),
    }
    return Offering(**{**facts, **changes})


def image() -> Image:
    return Image(
        provider="fake",
        id="pytorch-2-9",
        family="pytorch",
        framework="pytorch-2.9",
        cuda="12.9",
        driver="580",
        os="ubuntu-24.04",
        arch="x86_64",
        created=date(2026, 1, 1),
        min_disk_gib=60,
    )


def plan(name="train", zones=("sim-a-1", "sim-a-2", "sim-b-1"), nodes=1, excluded=(), **changes) -> Plan:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    options = tuple(
        Option(
            offering=offering(zone, **changes),
            need=Need(),
            image=image(),
            usd_per_hour=Decimal("0.72"),
            worst_case_usd=Decimal("4.31"),
        )
        for zone in zones
    )
    return Plan(
        cluster_name=name,
        provider="fake",
        simulated=True,
        options=options,
        excluded=tuple(Excluded(offering=offering(zone), reason="dearer") for zone in excluded),
        num_nodes=nodes,
        max_duration=timedelta(hours=6),
        made_at=now,
        deadline=now + timedelta(hours=6),
        autostop_minutes=20,
    )


@pytest.fixture
def paths(tmp_path) -> Paths:
    return Paths(config=tmp_path / "c", state=tmp_path / "state", cache=tmp_path / "cache")


@pytest.fixture
def cloud(manual_clock) -> MemoryCloud:
    return MemoryCloud(clock=manual_clock)


@pytest.fixture
def steps() -> list:
    return []


@pytest.fixture
def journal(paths, manual_clock):
    with Journal.open(paths.journal, head_path=paths.journal_head, clock=manual_clock) as opened:
        yield opened


@pytest.fixture
def context(cloud, journal, paths, manual_clock, steps) -> Context:
    return Context(
        provider=cloud,
        journal=journal,
        paths=paths,
        clock=manual_clock,
        owner=OWNER,
        progress=steps.append,
        login=lambda _endpoint: None,
        limits=Limits(),
    )


@pytest.fixture
def make() -> SimpleNamespace:
    """Builders of values: ``make.plan(…)``, ``make.offering(…)``, ``make.image()``, ``make.host_key(…)``."""
    return SimpleNamespace(
        plan=plan, offering=offering, image=image, host_key=host_key, cloud=MemoryCloud, vm=Vm, owner=OWNER
    )
