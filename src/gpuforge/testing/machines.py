"""Simulated machines without a simulated cloud: for tests of whatever talks to a machine over SSH."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuforge.simcloud.machines import control
from gpuforge.simcloud.machines.link import Desired, MachineSpec, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["FileLink", "RunningMachine", "machine_spec", "running_machine", "wait_until"]

LINK = "gpuforge.testing.machines:FileLink"


class FileLink:
    """A link to a cloud that is a folder of small files: ``<id>.wanted.json`` in, ``<id>.events`` out."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def _wanted(self, instance_id: str) -> Path:
        return self.folder / f"{instance_id}.wanted.json"

    def want(self, instance_id: str, **words: Any) -> None:
        """Change what is wanted: fields of :class:`Desired`, times as aware datetimes."""
        path = self._wanted(instance_id)
        row = json.loads(path.read_text()) if path.exists() else {"wanted": "run"}
        for name, value in words.items():
            row[name] = value.isoformat() if isinstance(value, datetime) else value
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(row))
        temporary.replace(path)

    def forget(self, instance_id: str) -> None:
        """The row is gone."""
        self._wanted(instance_id).unlink()

    def desired(self, instance_id: str) -> Desired:
        try:
            row = json.loads(self._wanted(instance_id).read_text())
        except FileNotFoundError:
            return Desired(wanted=Wanted.GONE, deadline=None)
        moments = {
            name: datetime.fromisoformat(row[name]).astimezone(UTC) if row.get(name) else None
            for name in ("deadline", "notice_at", "preempt_at")
        }
        return Desired(wanted=Wanted(row["wanted"]), reboot_count=row.get("reboot_count", 0), **moments)

    def _say(self, instance_id: str, kind: str, **words: object) -> None:
        with (self.folder / f"{instance_id}.events").open("a") as file:
            file.write(json.dumps({"kind": kind, **words}) + "\n")

    def events(self, instance_id: str, kind: str | None = None) -> list[dict[str, Any]]:
        """What the machine reported, oldest first."""
        path = self.folder / f"{instance_id}.events"
        if not path.exists():
            return []
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [row for row in rows if kind in (None, row["kind"])]

    def booted(self, instance_id: str, *, pid: int, host: str, port: int) -> None:
        self._say(instance_id, "booted", pid=pid, host=host, port=port)

    def publish(self, instance_id: str, key: str, value: str) -> None:
        self._say(instance_id, "publish", key=key, value=value)

    def rebooted(self, instance_id: str, reboot_count: int) -> None:
        self.want(instance_id, wanted="run")
        self._say(instance_id, "rebooted", reboot_count=reboot_count)

    def powered_off(self, instance_id: str, reason: str) -> None:
        self._say(instance_id, "powered_off", reason=reason)

    def self_delete(self, instance_id: str) -> None:
        self.want(instance_id, wanted="gone")
        self._say(instance_id, "self_delete")


def wait_until(question: Any, *, seconds: float = 20.0, what: str = "it") -> Any:
    """Poll until the answer is truthy, and return it; fail at the deadline."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        answer = question()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def machine_spec(cloud_folder: Path, *, public_key: str, **changes: Any) -> MachineSpec:
    """A small machine with one L4; ``changes`` are fields of :class:`MachineSpec`."""
    spec = MachineSpec(
        instance_id="4711",
        name="gf-test-0-1",
        zone="sim-central-a",
        project="simulated",
        folder=cloud_folder / "machines" / changes.get("instance_id", "4711"),
        addresses=("127.0.80.1",),
        ports=tuple(range(22300, 22500)),
        user=control.login_user(changes.get("ssh_server", "asyncssh"), "ubuntu"),
        ssh_public_keys=(public_key,),
        vcpus=4,
        memory_gib=16.0,
        accelerator=("L4", 24, 1),
        image="pytorch-2-9-cu129",
        driver="580",
        cuda="12.9",
        ssh_server="asyncssh",
        instance_type="g2-standard-4",
        spot=False,
    )
    return replace(spec, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningMachine:
    """A machine whose SSH server answers.

    Attributes:
        host_key: Base64 blob of its Ed25519 host key, as published.
        key: The private key that may log in.
    """

    spec: MachineSpec
    link: FileLink
    pid: int
    host: str
    port: int
    host_key: str
    key: Path

    @property
    def home(self) -> Path:
        """HOME on the machine, as a folder of the host."""
        return self.spec.folder / "home"

    def options(self) -> list[str]:
        """Options for ssh, scp and sftp, port excepted."""
        known = self.key.parent / f"known_{self.spec.instance_id}"
        known.write_text(f"sim.{self.spec.instance_id} ssh-ed25519 {self.host_key}\n")
        words = {
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": known,
            "HostKeyAlias": f"sim.{self.spec.instance_id}",
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        return [
            "-F",
            os.devnull,
            *(part for name, value in words.items() for part in ("-o", f"{name}={value}")),
        ]

    def ssh(self, *words: str, extra: Sequence[str] = ()) -> list[str]:
        """Argv of ``ssh`` with a command."""
        target = f"{self.spec.user}@{self.host}"
        return ["ssh", *self.options(), *extra, "-p", str(self.port), target, *words]

    def run(
        self, command: str, *, stdin: bytes = b"", extra: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command over a new connection."""
        return subprocess.run(
            self.ssh(command, extra=extra), input=stdin, capture_output=True, timeout=60, check=False
        )

    def powered_off(self) -> str:
        """Wait until it is off; returns the reason it gave."""
        rows = wait_until(
            lambda: self.link.events(self.spec.instance_id, "powered_off"), what="the machine's power-off"
        )
        wait_until(lambda: not control.is_alive(self.spec.folder), what="the supervisor's end")
        return str(rows[-1]["reason"])

    def is_alive(self) -> bool:
        """Whether its supervisor lives."""
        return control.is_alive(self.spec.folder)


def make_key(folder: Path) -> tuple[Path, str]:
    """A new Ed25519 login key: its private file and its public line."""
    path = folder / "id_ed25519"
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path, path.with_suffix(".pub").read_text().strip()


@contextlib.contextmanager
def running_machine(folder: Path, **changes: Any) -> Iterator[RunningMachine]:
    """A machine that is up; off and swept afterwards.

    Args:
        folder: Plays the cloud's folder.
        changes: Fields of :class:`MachineSpec`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key, public = make_key(folder)
    spec = machine_spec(folder, public_key=public, **changes)
    link = FileLink(folder)
    link.want(spec.instance_id, wanted="run")
    pid = control.boot(spec, folder, link=LINK)
    try:
        yield await_boot(spec, link, pid, key)
    finally:
        link.want(spec.instance_id, wanted="gone")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not control.is_alive(spec.folder), seconds=10)
        control.sweep(spec.folder, spec.instance_id)


def await_boot(spec: MachineSpec, link: FileLink, pid: int, key: Path) -> RunningMachine:
    """Wait for the machine's SSH server."""
    number = spec.instance_id
    try:
        booted = wait_until(lambda: link.events(number, "booted"), what="the machine's boot")[0]
    except AssertionError as error:
        log = (spec.folder / "supervisor.log").read_text(errors="replace")
        raise AssertionError(f"{error}\n{log}") from error
    keys = [row for row in link.events(number, "publish") if row["key"] == "hostkeys/ssh-ed25519"]
    return RunningMachine(
        spec=spec,
        link=link,
        pid=pid,
        host=booted["host"],
        port=booted["port"],
        host_key=keys[-1]["value"],
        key=key,
    )
