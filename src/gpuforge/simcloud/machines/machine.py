"""One simulated machine from power-on to power-off: its files, its servers and its processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gpuforge.errors import ProviderError
from gpuforge.simcloud.machines import environment, images, processes
from gpuforge.simcloud.machines.console import Console, boot_lines, gpu_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncssh

    from gpuforge.models.clock import Clock
    from gpuforge.simcloud.machines.children import Children
    from gpuforge.simcloud.machines.link import MachineSpec
    from gpuforge.simcloud.machines.metadata import MetadataServer, MetadataState
    from gpuforge.simcloud.machines.sshd_asyncssh import AsyncSSHServer
    from gpuforge.simcloud.machines.sshd_openssh import OpenSSHServer

__all__ = ["Cloud", "Machine", "bind_first"]

# outside the range from which the kernel takes ports for clients
_METADATA_PORTS = range(8775, 8975)


class Cloud(Protocol):
    """What the machine tells its cloud, without waiting on a disk in the event loop."""

    async def publish(self, key: str, value: str) -> None:
        """A guest attribute."""
        ...

    async def self_delete(self) -> None:
        """The guest wants to be deleted."""
        ...

    def power(self, action: str, after_seconds: float) -> None:
        """The guest wants to be powered off or rebooted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Servers:
    ssh: AsyncSSHServer | OpenSSHServer
    metadata: MetadataServer
    state: MetadataState
    task: asyncio.Task[None]


class Machine:
    """Boots, and powers off with everything that runs on it.

    Args:
        marker: What its processes carry in their environment.
    """

    def __init__(
        self,
        *,
        spec: MachineSpec,
        cloud_folder: Path,
        marker: str,
        cloud: Cloud,
        children: Children,
        clock: Clock,
    ) -> None:
        self._spec = spec
        self._cloud_folder = cloud_folder
        self._marker = marker
        self._cloud = cloud
        self._children = children
        self._servers: _Servers | None = None
        self._bound: tuple[str, int] | None = None
        self.console = Console(spec.folder, spec.name, clock)

    async def boot(self) -> tuple[str, int]:
        """Make the files, start the servers, publish the host key.

        Returns:
            Where the SSH server listens; the same place after a reboot.

        Raises:
            ProviderError: No address could be bound, or sshd did not start.
        """
        spec = self._spec
        for line in boot_lines(spec):
            self.console.kernel(line)
        if spec.startup_seconds:
            await asyncio.sleep(spec.startup_seconds)
        for line in gpu_lines(spec, os.cpu_count() or 1):
            self.console.service("gpuforge", line)
        host, ssh_socket = self._bind_ssh()
        port: int = ssh_socket.getsockname()[1]
        metadata_socket = bind_first([host], _METADATA_PORTS)
        place = self._place(host, metadata_socket.getsockname()[1])
        environ = environment.machine_environment(spec, place, os.environ)
        key = self._host_key()
        ssh = await self._listen(ssh_socket, key, environ, place)
        self._announce(key, host, port)
        blob = key.export_public_key().split()[1].decode()
        await self._cloud.publish("hostkeys/ssh-ed25519", blob)
        self._bound = (host, port)
        self._servers = self._serve_metadata(ssh, metadata_socket, host)
        return host, port

    def _bind_ssh(self) -> tuple[str, socket.socket]:
        spec = self._spec
        if self._bound is not None:
            bound = bind_first([self._bound[0]], [self._bound[1]])
        else:
            bound = bind_first(spec.addresses, spec.ports)
        return bound.getsockname()[0], bound

    def _place(self, host: str, metadata_port: int) -> environment.Place:
        folder = self._spec.folder
        interpreter = images.Interpreter.current()
        image = images.ensure_image(self._cloud_folder, self._spec.image, interpreter)
        boot_id = secrets.token_hex(16)
        (folder / "boot_id").write_text(boot_id + "\n", encoding="ascii")
        cache = self._cloud_folder / "images" / "pip-cache"
        cache.mkdir(parents=True, exist_ok=True)
        place = environment.Place(
            folder=folder,
            shims=image.shims,
            venv=folder / "venv",
            temporary=environment.short_temporary(folder),
            address=host,
            metadata=f"{host}:{metadata_port}",
            marker=self._marker,
            boot_id=boot_id,
            pip_cache=cache,
        )
        environment.prepare_home(place)
        images.make_thin(place.venv, image, pip_config=images.pip_settings(_pip_files()))
        return place

    def _host_key(self) -> asyncssh.SSHKey:
        import asyncssh  # noqa: PLC0415 - 0.2 s, only in the supervisor

        path = self._spec.folder / "host_key"
        if path.exists():
            return asyncssh.read_private_key(path)
        key = asyncssh.generate_private_key("ssh-ed25519", comment=self._spec.name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.export_private_key("openssh"))
        return key

    async def _listen(
        self, sock: socket.socket, key: asyncssh.SSHKey, environ: dict[str, str], place: environment.Place
    ) -> AsyncSSHServer | OpenSSHServer:
        spec = self._spec
        if spec.ssh_server == "openssh":
            from gpuforge.simcloud.machines.sshd_openssh import OpenSSHServer  # noqa: PLC0415 - one of two

            host, port = sock.getsockname()[:2]
            sock.close()  # it was held to find a place; sshd binds it itself
            daemon = OpenSSHServer(
                public_keys=spec.ssh_public_keys,
                environ=environ,
                home=place.home,
                folder=spec.folder,
                children=self._children,
            )
            await daemon.listen(host, port)
            return daemon
        from gpuforge.simcloud.machines.sshd_asyncssh import AsyncSSHServer  # noqa: PLC0415 - one of two

        server = AsyncSSHServer(
            user=spec.user,
            public_keys=spec.ssh_public_keys,
            host_key=key,
            environ=environ,
            home=place.home,
            folder=spec.folder,
            children=self._children,
        )
        await server.listen(sock)
        return server

    def _announce(self, key: asyncssh.SSHKey, host: str, port: int) -> None:
        self.console.service("sshd", f"Server listening on {host} port {port}.")
        self.console.plain("-----BEGIN SSH HOST KEY FINGERPRINTS-----")
        self.console.plain(f"256 {key.get_fingerprint()} {self._spec.name} (ED25519)")
        self.console.plain("-----END SSH HOST KEY FINGERPRINTS-----")

    def _serve_metadata(
        self, ssh: AsyncSSHServer | OpenSSHServer, sock: socket.socket, host: str
    ) -> _Servers:
        # imported once SSH answers: whoever waits for the machine waits for SSH
        from gpuforge.simcloud.machines.metadata import MetadataServer, MetadataState  # noqa: PLC0415

        state = MetadataState(
            spec=self._spec,
            address=host,
            publish=self._cloud.publish,
            self_delete=self._cloud.self_delete,
            power=self._cloud.power,
        )
        server = MetadataServer(state)
        task = asyncio.create_task(server.serve(sock))
        return _Servers(ssh=ssh, metadata=server, state=state, task=task)

    async def announce_preemption(self) -> None:
        """Let the metadata service tell of it."""
        self.console.service("systemd-logind", "Preemption notice: the machine goes down soon.")
        if self._servers is not None:
            await self._servers.state.announce_preemption()

    def processes(self) -> set[int]:
        """Everything that runs on the machine: below the supervisor, or marked."""
        table = processes.process_table()
        own = processes.descendants(table, [os.getpid()])
        return (own | processes.marked(table, self._marker)) - {os.getpid()}

    async def power_off(self, *, grace_seconds: float, reason: str) -> None:
        """End everything: SIGTERM and a grace, when there is one, then SIGKILL until nothing lives."""
        self.console.service("systemd", f"Powering off: {reason}.")
        if grace_seconds > 0:
            await self._ask_to_end(grace_seconds)
        processes.kill_all(self.processes, on_pass=self._children.reap)
        await self._close_servers()
        # a session may have started while the servers closed
        processes.kill_all(self.processes, on_pass=self._children.reap)
        environment.forget_temporary(self._spec.folder)
        self.console.kernel("reboot: Power down")

    async def _ask_to_end(self, grace_seconds: float) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while self.processes():  # noqa: ASYNC110 - the kernel tells of descendants to nobody
                    await asyncio.sleep(0.05)

    async def _close_servers(self) -> None:
        servers, self._servers = self._servers, None
        if servers is None:
            return
        servers.ssh.close()
        servers.metadata.close()
        await asyncio.wait([servers.task], timeout=2)


def _pip_files() -> list[Path]:
    """Where the user's own pip settings are, least important first."""
    home = Path.home()
    named = os.environ.get("PIP_CONFIG_FILE")
    return [
        home / ".pip" / "pip.conf",
        home / ".config" / "pip" / "pip.conf",
        home / "Library" / "Application Support" / "pip" / "pip.conf",
        *([Path(named)] if named else []),
    ]


def bind_first(hosts: Iterable[str], ports: Iterable[int]) -> socket.socket:
    """A listening socket on the first place that can be had.

    Raises:
        ProviderError: None can; each is named with its reason.
    """
    refused = []
    places = list(ports)
    for host in hosts:
        for port in places:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, port))
                sock.listen(128)
            except OSError as error:
                sock.close()
                refused.append(f"{host}:{port}: {error.strerror}")
            else:
                sock.setblocking(False)
                return sock
    raise ProviderError("no address is free for the machine to listen on", details="\n".join(refused[:20]))
