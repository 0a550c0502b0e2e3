"""The ``fake`` provider: the simulated cloud in process, behind the provider port. A thin adapter."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from gpuforge.errors import (
    GpuforgeError,
    NotFoundError,
    ProviderError,
    ProviderUnavailableError,
)
from gpuforge.images.select import select_image
from gpuforge.models.instance import (
    Accepted,
    BootReport,
    Check,
    CheckStatus,
    HttpCall,
    InstanceRef,
    InstanceState,
    Listing,
    Route,
)
from gpuforge.providers.fake import convert
from gpuforge.providers.fake.convert import errors_mapped
from gpuforge.providers.fake.requests import prepare
from gpuforge.simcloud.cloud import SimCloud
from gpuforge.simcloud.instances import Status
from gpuforge.simcloud.machines.control import login_user
from gpuforge.simcloud.profile import load_profile
from gpuforge.simcloud.refusals import Code
from gpuforge.simcloud.settings import MachineMode, SimSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from gpuforge.models.clock import Clock
    from gpuforge.models.image import Image
    from gpuforge.models.instance import Instance, InstanceRequest, PreparedCreate, Selector
    from gpuforge.models.offering import Offering
    from gpuforge.models.resources import Need
    from gpuforge.providers.base import ImageQuery, Power
    from gpuforge.simcloud.instances import InstanceRow
    from gpuforge.state.paths import Paths

__all__ = ["FakeProvider"]

# the node's agent fills in where its metadata service listens
_METADATA = "http://$GCE_METADATA_HOST"
# where systems keep it that leave it out of people's PATH
SSHD_FOLDERS = ("/usr/sbin", "/usr/local/sbin")
_FLAVOR = {"Metadata-Flavor": "Google"}
_NO_WAY_BACK = {
    InstanceState.STOPPING,
    InstanceState.STOPPED,
    InstanceState.DELETING,
    InstanceState.GONE,
}


class FakeProvider:
    """Implements :class:`gpuforge.providers.base.Provider` over :class:`gpuforge.simcloud.cloud.SimCloud`.

    Args:
        paths: The cloud lies in ``paths.simcloud``.
        clock: The cloud's own time too.
        environ: ``GPUFORGE_FAKE_LATENCY``, ``GPUFORGE_FAKE_MACHINES``, ``GPUFORGE_FAKE_SSHD``.
        cloud: One to use instead of the one in ``paths``.
    """

    name = convert.NAME
    simulated = True
    power: Power | None = None

    def __init__(
        self, paths: Paths, clock: Clock, environ: Mapping[str, str], *, cloud: SimCloud | None = None
    ) -> None:
        self._paths = paths
        self._clock = clock
        self._settings = SimSettings.from_environment(environ)
        self._cloud = cloud

    @property
    def cloud(self) -> SimCloud:
        """The simulated cloud itself, for its own verbs and for tests; made on first use."""
        if self._cloud is None:
            self._cloud = SimCloud(self._paths.simcloud, self._clock, settings=self._settings)
        return self._cloud

    @property
    def images(self) -> tuple[Image, ...]:
        """Every image of the profile."""
        return load_profile().images

    def list_offerings(self, need: Need) -> Iterable[Offering]:
        """Everything sold in the place, of the type and GPU models asked for; sizes are not compared."""
        models = {gpu.name for gpu in need.accelerators}
        for offering in load_profile().offerings:
            if (
                offering.capacity_type is need.capacity_type
                and need.region in {None, offering.region}
                and need.zone in {None, offering.zone}
                and need.instance_type in {None, offering.instance_type}
                and (not models or (offering.accelerator and offering.accelerator.name in models))
            ):
                yield offering

    def resolve_image(self, query: ImageQuery) -> Image:
        """The image of this id or family; the deep-learning image when none is named."""
        return select_image(load_profile().images, query, today=self._clock.now().date())

    def prepare_create(self, request: InstanceRequest) -> PreparedCreate:
        """Names, token and body. Pure."""
        return prepare(request, provider=self.name)

    def create(self, prepared: PreparedCreate) -> Accepted:
        """Accept a gang under its token. A stock-out comes from :meth:`wait`, a quota from here."""
        with errors_mapped():
            operation = self.cloud.create(prepared.token, prepared.body)
        refs = tuple(
            InstanceRef(
                provider=self.name,
                region=prepared.region,
                zone=prepared.zone,
                name=name,
                instance_id=instance_id,
            )
            for name, instance_id in zip(prepared.names, operation.targets, strict=True)
        )
        return Accepted(refs=refs, operation=operation.name)

    def wait(
        self, refs: Sequence[InstanceRef], until: InstanceState, deadline: datetime
    ) -> tuple[Instance, ...]:
        """Look again until every instance is in ``until``, with short pauses that grow."""
        seen: tuple[Instance, ...] = ()
        with errors_mapped():
            for rows in self.cloud.watch([convert.key(ref) for ref in refs], deadline):
                seen = tuple(self._seen(ref, row) for ref, row in zip(refs, rows, strict=True))
                if all(instance.state is until for instance in seen):
                    return seen
                for row, instance in zip(rows, seen, strict=True):
                    self._refuse_dead_end(instance, row, until)
        waiting = [f"{x.ref.name} is {x.state}" for x in seen if x.state is not until]
        raise ProviderUnavailableError(
            f"{len(waiting)} of {len(seen)} instances were not {until} in time",
            details="\n".join(waiting[:10]),
            resolution="gpuforge status",
        )

    def list(self, selector: Selector) -> Listing:
        """Instances and left-over disks by reference or owner."""
        with errors_mapped():
            if selector.owner is not None:
                found = self.cloud.list_owned(selector.owner)
            else:
                found = self.cloud.list_keys([convert.key(ref) for ref in selector.refs])
        return Listing(
            instances=tuple(convert.instance(row) for row in found.instances),
            disks=tuple(convert.left_over(disk) for disk in found.disks),
            server_time=found.server_time,
            complete=found.complete,
            warnings=found.warnings,
        )

    def delete(self, refs: Sequence[InstanceRef]) -> None:
        """Accept a delete by id, of disks that a delete before this one left behind too."""
        keys = [convert.key(ref) for ref in refs]
        with errors_mapped():
            self.cloud.delete(keys)

    def boot_report(self, ref: InstanceRef) -> BootReport:
        """Host keys, route and console of an instance, and how its node learns of a preemption."""
        with errors_mapped():
            view = self.cloud.guest(convert.key(ref))
        row = view.instance
        is_booted = row.ready_at is not None and row.status is Status.RUNNING
        return BootReport(
            instance=convert.instance(row),
            host_keys=convert.host_keys(view.attributes),
            route=Route(host=row.host, port=row.port, user=login_user(row.ssh_server, row.user))
            if is_booted
            else None,
            console_tail=view.console_tail,
            notice=HttpCall(
                method="GET", url=f"{_METADATA}/computeMetadata/v1/instance/preempted", headers=_FLAVOR
            ),
            self_delete=HttpCall(method="POST", url=f"{_METADATA}/gpuforge/self-delete", headers=_FLAVOR),
            capped_gpus=_ranks(row),
        )

    def preflight(self) -> tuple[Check, ...]:
        """Whether this computer can play a cloud."""
        return (self._check_state(), self._check_machines(), self._check_ssh_server())

    def _seen(self, ref: InstanceRef, row: InstanceRow | None) -> Instance:
        return convert.lost(ref, self._clock.now()) if row is None else convert.instance(row)

    def _refuse_dead_end(self, instance: Instance, row: InstanceRow | None, until: InstanceState) -> None:
        if instance.state is until or instance.state not in _NO_WAY_BACK:
            return
        if until not in {InstanceState.RUNNING, InstanceState.PENDING}:
            if instance.state is InstanceState.GONE:
                raise NotFoundError(f"{instance.ref.name} is gone", details=instance.reason)
            return
        if row is not None and row.status is Status.DELETED:
            operation = self.cloud.operation(row.create_operation)
            if operation.error_code:
                raise convert.error_of(Code(operation.error_code), operation.error_message)
        raise ProviderError(
            f"{instance.ref.name} is {instance.state} and will not run",
            details=instance.reason,
            resolution="gpuforge gc",
        )

    def _check_state(self) -> Check:
        folder = self._paths.simcloud
        try:
            with errors_mapped():
                count = len(self.cloud.everything())
        except (GpuforgeError, OSError) as error:
            return Check(
                name="fake state",
                status=CheckStatus.FAIL,
                message=str(error),
                fix=f"make {folder} writable, or: gpuforge fake reset",
            )
        return Check(name="fake state", status=CheckStatus.PASS, message=f"{folder}, {count} instances")

    def _check_machines(self) -> Check:
        if self._settings.machines is MachineMode.NONE:
            return Check(
                name="fake machines",
                status=CheckStatus.SKIP,
                message="GPUFORGE_FAKE_MACHINES=none: rows without machines, nothing can run",
                fix="unset GPUFORGE_FAKE_MACHINES",
            )
        return Check(name="fake machines", status=CheckStatus.PASS, message="one process tree per machine")

    def _check_ssh_server(self) -> Check:
        if self._settings.ssh_server == "asyncssh":
            return Check(name="fake ssh server", status=CheckStatus.PASS, message="asyncssh")
        path = shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), *SSHD_FOLDERS)))
        if path is None:
            return Check(
                name="fake ssh server",
                status=CheckStatus.FAIL,
                message="GPUFORGE_FAKE_SSHD=openssh, and there is no sshd",
                fix="install openssh-server, or unset GPUFORGE_FAKE_SSHD",
            )
        return Check(name="fake ssh server", status=CheckStatus.PASS, message=path)


def _ranks(row: InstanceRow) -> int | None:
    # simulated GPUs are this computer's cores; the machine's console says so when there are fewer of them
    gpu = load_profile().types[row.instance_type].accelerator
    return min(gpu.count, os.cpu_count() or 1) if gpu else None
