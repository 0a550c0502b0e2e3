"""What every provider must do, as tests to inherit.

A provider's own test file subclasses :class:`ProviderContract` and supplies three fixtures::

    class TestMine(ProviderContract):
        @pytest.fixture
        def clock(self): return SystemClock()

        @pytest.fixture
        def provider(self, clock): return MyProvider(...)

        @pytest.fixture
        def need(self): return Need(accelerators=(Accelerator("L4"),))

``clock`` is the one the provider was made with. Every instance a test creates is deleted after it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gpuforge.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    ProviderUnavailableError,
)
from gpuforge.models.ids import instance_name
from gpuforge.models.instance import (
    CheckStatus,
    InstanceRef,
    InstanceRequest,
    InstanceState,
    Selector,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuforge.models.clock import Clock
    from gpuforge.models.instance import Accepted, BootReport, Instance
    from gpuforge.models.offering import Offering
    from gpuforge.models.resources import Need
    from gpuforge.providers.base import Provider

__all__ = ["Maker", "ProviderContract", "Query"]

_PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq1Qn1bH0tTqmB5uXwDqYc1mI0c0YqjUj3dS2bZ8kR contract"
_ABSENT_ID = "1000000000000000001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """An image query as a task makes one."""

    name: str | None = None
    arch: str = "x86_64"
    needs_gpu: bool = False


class Maker:
    """Builds requests under a journal id of its own, and deletes what came of them.

    Args:
        provider: Under test.
        clock: The provider's.
        need: What to rent.
        seconds: How long waits may take.
    """

    def __init__(self, provider: Provider, clock: Clock, need: Need, seconds: float) -> None:
        self.provider = provider
        self.clock = clock
        self.need = need
        self.owner = f"contract-{secrets.token_hex(4)}"
        self._seconds = seconds
        self._refs: list[InstanceRef] = []
        self._journal = secrets.token_hex(8)

    def offering(self) -> Offering:
        """The first that is sold without restriction."""
        return next(x for x in self.provider.list_offerings(self.need) if not x.restriction)

    def names(self, count: int = 1) -> tuple[str, ...]:
        """Fresh names of one gang."""
        cluster = secrets.token_hex(8)
        return tuple(instance_name(self._journal, cluster, rank=rank, attempt=1) for rank in range(count))

    def request(
        self, *, names: tuple[str, ...] | None = None, hours: float = 1.0, intent: str = "1-0123456789ab"
    ) -> InstanceRequest:
        """A complete request."""
        offering = self.offering()
        deadline = self.clock.now() + timedelta(hours=hours)
        return InstanceRequest(
            names=names or self.names(),
            offering=offering,
            image=self.provider.resolve_image(
                Query(arch=offering.arch, needs_gpu=offering.accelerator is not None)
            ),
            disk_gib=max(50, self.need.disk_gib),
            deadline=deadline,
            labels={
                "gf-owner": self.owner,
                "gf-journal": self._journal,
                "gf-cluster": "contract",
                "gf-intent": intent,
                "gf-epoch": "1",
                "gf-deadline": str(int(deadline.timestamp())),
            },
            ssh_public_key=_PUBLIC_KEY,
        )

    def create(self, request: InstanceRequest) -> Accepted:
        """Prepare and create."""
        accepted = self.provider.create(self.provider.prepare_create(request))
        self._refs += accepted.refs
        return accepted

    def running(self, request: InstanceRequest | None = None) -> tuple[Instance, ...]:
        """Create and wait."""
        accepted = self.create(request or self.request())
        return self.wait(accepted.refs, InstanceState.RUNNING)

    def wait(self, refs: tuple[InstanceRef, ...], until: InstanceState) -> tuple[Instance, ...]:
        """Wait as long as the suite allows."""
        return self.provider.wait(refs, until, self.clock.now() + timedelta(seconds=self._seconds))

    def gone(self, refs: tuple[InstanceRef, ...]) -> None:
        """Delete and wait."""
        self.provider.delete(refs)
        self.wait(refs, InstanceState.GONE)

    def booted(self, ref: InstanceRef) -> BootReport:
        """Look until the guest has published its keys and its address is known."""
        give_up = self.clock.now() + timedelta(seconds=self._seconds)
        while True:
            report = self.provider.boot_report(ref)
            if report.host_keys is not None and report.route is not None:
                return report
            assert self.clock.now() < give_up, f"not booted in time: {report.console_tail}"
            self.clock.sleep(0.05)

    def clean(self) -> None:
        """Delete everything that was created; accepted is enough, nobody waits."""
        self.provider.delete(self._refs)


class ProviderContract:
    """Inherit, supply ``provider``, ``clock`` and ``need``."""

    #: How long a wait may take before it counts as failed.
    wait_seconds: float = 120.0

    @pytest.fixture
    def maker(self, provider: Provider, clock: Clock, need: Need) -> Iterator[Maker]:
        """Creates instances, and deletes them after the test."""
        maker = Maker(provider, clock, need, self.wait_seconds)
        yield maker
        maker.clean()

    # ── offerings and images ───────────────────────────────────────────────────────────────────────────

    def test_it_has_a_name_that_its_offerings_carry(self, provider: Provider, need: Need) -> None:
        """Offerings lead back to the provider that sells them."""
        offerings = list(provider.list_offerings(need))
        assert offerings
        assert {offering.provider for offering in offerings} == {provider.name}

    def test_offerings_can_be_narrowed_to_a_zone(self, provider: Provider, need: Need) -> None:
        """A zone that is asked for is the only one that answers."""
        zone = next(iter(provider.list_offerings(need))).zone
        narrowed = list(provider.list_offerings(replace(need, zone=zone)))
        assert narrowed
        assert {offering.zone for offering in narrowed} == {zone}

    def test_no_offering_is_not_an_error(self, provider: Provider, need: Need) -> None:
        """A place that does not exist sells nothing."""
        assert not list(provider.list_offerings(replace(need, zone="nowhere-1-z")))

    def test_there_is_a_default_image(self, provider: Provider, maker: Maker) -> None:
        """Nobody has to name an image."""
        image = provider.resolve_image(Query(needs_gpu=maker.offering().accelerator is not None))
        assert image.provider == provider.name
        assert image.id

    def test_an_image_is_found_by_its_own_id(self, provider: Provider) -> None:
        """What was resolved once can be asked for again."""
        image = provider.resolve_image(Query())
        assert provider.resolve_image(Query(name=image.id)) == image

    def test_an_unknown_image_is_not_found_and_says_what_to_do(self, provider: Provider) -> None:
        """The error leads on."""
        with pytest.raises(NotFoundError) as caught:
            provider.resolve_image(Query(name="no-such-image"))
        assert "no-such-image" in caught.value.brief
        assert caught.value.resolution

    # ── preparing ──────────────────────────────────────────────────────────────────────────────────────

    def test_preparing_twice_gives_the_same_words(self, provider: Provider, maker: Maker) -> None:
        """A re-drive says exactly what the first try said."""
        request = maker.request()
        first, second = provider.prepare_create(request), provider.prepare_create(request)
        assert first == second
        assert first.names == request.names

    def test_another_name_is_another_token(self, provider: Provider, maker: Maker) -> None:
        """Two clusters never share a token."""
        request = maker.request()
        other = replace(request, names=maker.names())
        assert provider.prepare_create(request).token != provider.prepare_create(other).token

    @pytest.mark.parametrize("label", ["gf-owner", "gf-journal", "gf-intent", "gf-deadline"])
    def test_a_request_without_its_labels_is_refused(
        self, provider: Provider, maker: Maker, label: str
    ) -> None:
        """What nobody could find again is never created."""
        request = maker.request()
        labels = {key: value for key, value in request.labels.items() if key != label}
        with pytest.raises(InvalidRequestError):
            provider.prepare_create(replace(request, labels=labels))

    # ── creating ───────────────────────────────────────────────────────────────────────────────────────

    def test_a_created_instance_runs_and_shows_its_labels_and_deadline(self, maker: Maker) -> None:
        """What was asked for is what the cloud shows."""
        request = maker.request()
        (instance,) = maker.running(request)
        assert instance.state is InstanceState.RUNNING
        assert instance.ref.name == request.names[0]
        assert instance.ref.instance_id
        assert instance.deadline is not None
        assert abs((instance.deadline - request.deadline).total_seconds()) <= 1
        assert request.labels.items() <= instance.labels.items()

    def test_a_gang_comes_in_the_order_of_its_names(self, maker: Maker) -> None:
        """Ranks are read from names, so their order holds."""
        request = maker.request(names=maker.names(3))
        gang = maker.running(request)
        assert tuple(instance.ref.name for instance in gang) == request.names
        assert len({instance.ref.instance_id for instance in gang}) == 3

    def test_a_token_that_is_sent_again_creates_nothing_new(self, provider: Provider, maker: Maker) -> None:
        """The reply may have been lost: the same words get the same answer."""
        request = maker.request()
        first = maker.create(request)
        assert provider.create(provider.prepare_create(request)).refs == first.refs
        assert len(provider.list(Selector(owner=maker.owner)).instances) == 1

    def test_a_token_answers_with_what_it_made_even_when_that_is_dead(
        self, provider: Provider, maker: Maker
    ) -> None:
        """A straggler must not buy a second instance."""
        request = maker.request()
        accepted = maker.create(request)
        maker.wait(accepted.refs, InstanceState.RUNNING)
        maker.gone(accepted.refs)
        again = provider.create(provider.prepare_create(request))
        assert again.refs == accepted.refs
        assert not provider.list(Selector(owner=maker.owner)).instances

    def test_a_token_with_another_body_is_a_conflict(self, provider: Provider, maker: Maker) -> None:
        """A token stands for exact bytes."""
        request = maker.request()
        maker.create(request)
        prepared = provider.prepare_create(request)
        other = provider.prepare_create(replace(request, disk_gib=request.disk_gib + 1))
        with pytest.raises(ConflictError):
            provider.create(replace(prepared, body=other.body))

    def test_a_name_that_lives_is_a_conflict_for_another_token(self, maker: Maker) -> None:
        """Names are the fence behind the tokens."""
        request = maker.request()
        maker.create(request)
        with pytest.raises(ConflictError):
            maker.create(maker.request(names=request.names, intent="2-ba9876543210"))

    def test_a_gang_with_one_taken_name_creates_nothing(self, provider: Provider, maker: Maker) -> None:
        """All or none."""
        names = maker.names(3)
        maker.create(maker.request(names=names[1:2]))
        with pytest.raises(ConflictError):
            maker.create(maker.request(names=names, intent="2-ba9876543210"))
        assert [x.ref.name for x in provider.list(Selector(owner=maker.owner)).instances] == [names[1]]

    def test_a_deadline_that_has_passed_is_refused(self, provider: Provider, maker: Maker) -> None:
        """An instance that should be dead already is never born."""
        with pytest.raises(InvalidRequestError):
            maker.create(maker.request(hours=-1))
        assert not provider.list(Selector(owner=maker.owner)).instances

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────

    def test_a_list_shows_what_one_owner_has_and_nothing_else(self, provider: Provider, maker: Maker) -> None:
        """Owners do not see one another's instances under their own label."""
        accepted = maker.create(maker.request())
        listing = provider.list(Selector(owner=maker.owner))
        assert [x.ref for x in listing.instances] == list(accepted.refs)
        assert listing.complete
        assert not listing.disks
        assert not provider.list(Selector(owner=f"{maker.owner}-other")).instances

    def test_a_list_carries_the_clouds_own_time(self, provider: Provider, maker: Maker, clock: Clock) -> None:
        """Deadlines are computed from it."""
        listing = provider.list(Selector(owner=maker.owner))
        assert listing.server_time.tzinfo is not None
        assert abs((listing.server_time - clock.now()).total_seconds()) < 60

    def test_a_list_by_reference_wants_the_same_incarnation(self, provider: Provider, maker: Maker) -> None:
        """A newer instance of that name is not the one asked for."""
        (ref,) = maker.create(maker.request()).refs
        assert [x.ref for x in provider.list(Selector(refs=(ref,))).instances] == [ref]
        other = replace(ref, instance_id=_ABSENT_ID)
        assert not provider.list(Selector(refs=(other,))).instances

    def test_a_reference_without_an_id_is_found_by_name(self, provider: Provider, maker: Maker) -> None:
        """Recovery knows names before it knows ids."""
        (ref,) = maker.create(maker.request()).refs
        found = provider.list(Selector(refs=(replace(ref, instance_id=None),)))
        assert [x.ref for x in found.instances] == [ref]

    def test_a_booted_instance_reports_its_host_key_and_the_way_in(self, maker: Maker) -> None:
        """Nothing is sent before both are known."""
        (instance,) = maker.running()
        report = maker.booted(instance.ref)
        assert report.instance.ref == instance.ref
        assert report.host_keys is not None
        assert {key.kind for key in report.host_keys} == {"ssh-ed25519"}
        assert report.route is not None
        assert report.route.port > 0
        assert report.route.user

    def test_the_boot_report_of_nothing_is_not_found(self, provider: Provider, maker: Maker) -> None:
        """There is nothing to report."""
        with pytest.raises(NotFoundError):
            provider.boot_report(self._absent(maker))

    def test_a_wait_that_takes_too_long_says_that_the_state_is_unknown(
        self, provider: Provider, maker: Maker, clock: Clock
    ) -> None:
        """The caller repeats the same call under its own deadline."""
        instances = maker.running()
        refs = tuple(instance.ref for instance in instances)
        with pytest.raises(ProviderUnavailableError):
            provider.wait(refs, InstanceState.GONE, clock.now() + timedelta(seconds=0.2))

    def test_waiting_for_the_dead_to_run_fails_at_once(self, maker: Maker) -> None:
        """No wait for what cannot come."""
        accepted = maker.create(maker.request())
        maker.wait(accepted.refs, InstanceState.RUNNING)
        maker.gone(accepted.refs)
        with pytest.raises(ProviderError):
            maker.wait(accepted.refs, InstanceState.RUNNING)

    # ── deleting ───────────────────────────────────────────────────────────────────────────────────────

    def test_a_deleted_instance_is_gone_and_so_is_its_disk(self, provider: Provider, maker: Maker) -> None:
        """Nothing is left that bills."""
        accepted = maker.create(maker.request())
        maker.wait(accepted.refs, InstanceState.RUNNING)
        maker.gone(accepted.refs)
        listing = provider.list(Selector(owner=maker.owner))
        assert not listing.instances
        assert not listing.disks

    def test_deleting_again_is_success(self, provider: Provider, maker: Maker) -> None:
        """A delete can always be repeated."""
        accepted = maker.create(maker.request())
        maker.gone(accepted.refs)
        provider.delete(accepted.refs)

    def test_deleting_what_never_was_is_success(self, provider: Provider, maker: Maker) -> None:
        """With an id, and without one."""
        absent = self._absent(maker)
        provider.delete((absent, replace(absent, instance_id=None)))

    def test_a_delete_by_an_old_id_spares_the_new_instance_of_that_name(
        self, provider: Provider, maker: Maker
    ) -> None:
        """Names are used again; ids are not."""
        request = maker.request()
        old = maker.create(request)
        maker.gone(old.refs)
        new = maker.create(maker.request(names=request.names, intent="2-ba9876543210"))
        assert new.refs != old.refs
        maker.wait(new.refs, InstanceState.RUNNING)
        provider.delete(old.refs)
        assert [x.ref for x in provider.list(Selector(refs=new.refs)).instances] == list(new.refs)

    def test_a_reference_without_an_id_is_deleted_by_name(self, provider: Provider, maker: Maker) -> None:
        """Where the id never came to be known."""
        accepted = maker.create(maker.request())
        provider.delete(tuple(replace(ref, instance_id=None) for ref in accepted.refs))
        maker.wait(accepted.refs, InstanceState.GONE)

    # ── preflight ──────────────────────────────────────────────────────────────────────────────────────

    def test_every_preflight_check_that_does_not_pass_says_how_to_fix_it(self, provider: Provider) -> None:
        """A verdict without a next step is a dead end."""
        checks = provider.preflight()
        assert checks
        for check in checks:
            assert check.message
            assert check.status is CheckStatus.PASS or check.fix

    def _absent(self, maker: Maker) -> InstanceRef:
        offering = maker.offering()
        return InstanceRef(
            provider=maker.provider.name,
            region=offering.region,
            zone=offering.zone,
            name=maker.names()[0],
            instance_id=_ABSENT_ID,
        )
