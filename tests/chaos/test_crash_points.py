"""The scenarios of the protocol's model, run through the real code against the simulated cloud.

Every crash point × the fate of a request in flight × fresh and stale lists = 26; the client then returns
(nothing may be left) or never does (the cloud ends everything at its deadline). The clock is manual.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from gpuforge.errors import ProviderUnavailableError
from gpuforge.models.plan import Option, Plan
from gpuforge.models.resources import Need
from gpuforge.providers.fake.provider import FakeProvider
from gpuforge.provision.context import Context
from gpuforge.provision.create import create_cluster
from gpuforge.provision.reconcile import collect
from gpuforge.provision.teardown import delete_cluster
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.simcloud.settings import Latency, MachineMode, SimSettings
from gpuforge.state.journal import Journal
from gpuforge.state.paths import Paths
from gpuforge.state.views import clusters

FATES = ("lost", "applied", "late")
POINTS = [
    ("before_intent", ""),
    ("after_intent", ""),
    *(("create_in_flight", fate) for fate in FATES),
    ("after_reply", ""),
    ("after_ack", ""),
    ("running", ""),
    ("del_intent", ""),
    *(("delete_in_flight", fate) for fate in FATES),
    ("after_delete", ""),
]
LATE_SECONDS = 1800
LATENESS = 150
# where one VM lives on if nobody comes back (protocol §8: 14 of 26)
LIVES_ON = {
    ("create_in_flight", "applied"), ("create_in_flight", "late"), ("after_reply", ""), ("after_ack", ""),
    ("running", ""), ("del_intent", ""), ("delete_in_flight", "lost"),
}  # fmt: skip

# commits of a client, from 1: LEASE, INTENT+RESERVE, ACK, READY; then LEASE, DELETE_INTENT, GONE+RELEASE
DIES_AT = {
    "before_intent": ("before", 2),
    "after_intent": ("after", 2),
    "after_reply": ("before", 3),
    "after_ack": ("after", 3),
    "running": ("after", 4),
    "del_intent": ("after", 6),
    "after_delete": ("before", 7),
}


class Died(BaseException):
    """The client ends here."""


class DyingJournal(Journal):
    dies_at = ("", 0)
    count = 0

    def append(self, rows):
        self.count += bool(self.journal_id)
        if self.dies_at == ("before", self.count):
            raise Died
        written = super().append(rows)
        if self.dies_at == ("after", self.count):
            raise Died
        return written


class DyingProvider:
    """The client dies while one of its calls is in flight."""

    def __init__(self, inner: FakeProvider, call: str, fate: str) -> None:
        self._inner, self._call, self._fate = inner, call, fate

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def create(self, prepared):
        return self._send("create", prepared)

    def delete(self, refs):
        return self._send("delete", refs)

    def _send(self, call, argument):
        if call != self._call:
            return getattr(self._inner, call)(argument)
        if self._fate == "late":
            self._inner.cloud.faults.add(call=call, fate=f"late:{LATE_SECONDS}")
            with pytest.raises(ProviderUnavailableError):
                getattr(self._inner, call)(argument)
        elif self._fate == "applied":
            getattr(self._inner, call)(argument)
        raise Died


@pytest.fixture
def world(tmp_path, manual_clock):
    paths = Paths(config=tmp_path, state=tmp_path / "state", cache=tmp_path / "cache")
    settings = SimSettings(
        latency=Latency(create_seconds=2, boot_seconds=2, delete_seconds=2), machines=MachineMode.NONE
    )
    cloud = SimCloud(paths.simcloud, manual_clock, settings=settings)
    provider = FakeProvider(paths, manual_clock, {}, cloud=cloud)
    yield SimpleNamespace(paths=paths, cloud=cloud, provider=provider, clock=manual_clock)
    cloud.close()


def context(world, journal, provider=None) -> Context:
    return Context(
        provider=provider or world.provider,
        journal=journal,
        paths=world.paths,
        clock=world.clock,
        owner="ada",
        login=lambda _endpoint: None,
    )


def plan(provider) -> Plan:
    query = SimpleNamespace(name=None, arch="x86_64", needs_gpu=True)
    offering = next(x for x in provider.list_offerings(Need()) if x.accelerator and not x.restriction)
    option = Option(
        offering=offering,
        need=Need(),
        image=provider.resolve_image(query),
        usd_per_hour=Decimal(1),
        worst_case_usd=Decimal(6),
    )
    made_at = datetime(2026, 1, 1, tzinfo=UTC)
    return Plan(
        cluster_name="model",
        provider="fake",
        simulated=True,
        options=(option,),
        excluded=(),
        num_nodes=1,
        max_duration=timedelta(hours=6),
        made_at=made_at,
        deadline=made_at + timedelta(hours=6),
        autostop_minutes=None,
    )


def opened(world, kind=Journal):
    return kind.open(world.paths.journal, head_path=world.paths.journal_head, clock=world.clock)


def crash(world, point, fate) -> None:
    """A client makes a cluster, uses it and gives it back, and dies at ``point``."""
    call = point.split("_")[0] if fate else ""
    provider = DyingProvider(world.provider, call, fate)
    with opened(world, DyingJournal) as journal:
        journal.dies_at = DIES_AT.get(point, ("", 0))
        client = context(world, journal, provider)

        def live():
            delete_cluster(client, create_cluster(client, plan(provider), labels={}))

        with pytest.raises(Died):
            live()


def come_back(world, *, stale, first="gc") -> None:
    """``gc`` and ``down`` of what is left, or ``down`` at once, as from a new process."""
    if stale:
        world.cloud.faults.add(call="list", fate="stale:600", times=1000)
    with opened(world) as journal:
        client = context(world, journal)
        if first == "gc":
            assert collect(client).leftovers == ()
        for cluster in clusters(journal):
            delete_cluster(client, cluster)
    world.cloud.faults.clear()


@pytest.mark.parametrize("stale", [False, True], ids=["fresh", "stale"])
@pytest.mark.parametrize("first", ["gc", "down"])
@pytest.mark.parametrize(("point", "fate"), POINTS)
def test_a_client_that_returns_leaves_nothing(world, point, fate, first, stale):
    crash(world, point, fate)

    come_back(world, stale=stale, first=first)
    world.clock.advance(LATE_SECONDS + 60)  # a straggler lands now

    assert world.cloud.everything() == []
    with opened(world) as journal:
        assert clusters(journal) == ()


@pytest.mark.parametrize(("point", "fate"), POINTS)
def test_a_client_that_never_returns_leaves_what_its_deadline_ends(world, point, fate):
    crash(world, point, fate)

    world.clock.advance(LATE_SECONDS + 60)
    living = world.cloud.everything()
    assert len(living) == ((point, fate) in LIVES_ON)
    assert all(row.deadline is not None for row in living)

    world.clock.advance(6 * 3600 - LATE_SECONDS - 60 + LATENESS)
    assert world.cloud.everything() == []


@pytest.mark.parametrize("second", range(1, 6))
@pytest.mark.parametrize(("point", "fate"), [x for x in POINTS if x in LIVES_ON])
def test_a_recovery_that_dies_too_is_finished_by_the_next(world, point, fate, second):
    crash(world, point, fate)
    with opened(world, DyingJournal) as journal:
        journal.dies_at = ("after", second)
        with contextlib.suppress(Died):
            collect(context(world, journal))

    come_back(world, stale=bool(second % 2))
    world.clock.advance(LATE_SECONDS + 60)

    assert world.cloud.everything() == []
