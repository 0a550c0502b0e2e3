"""First copy, no-op and 1 % changed of many small files, beside ``rsync -a`` on the same SSH server.

Both are measured as whole processes over OpenSSH's sshd on loopback, once over a kept connection and once
over a new one; rounds alternate tool by tool, each first copy into a fresh place, contents compared after it.
The raw pipe (``tar | ssh cat``) is the limit.

Usage: ``python benchmarks/sync_first.py [--files 10000] [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import getpass
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpuforge.models.instance import Route
from gpuforge.transport.base import Endpoint
from gpuforge.transport.files import close_masters, write_cluster_files
from gpuforge.transport.keys import ensure_key, parse_host_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SSHD_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
KexAlgorithms curve25519-sha256
SetEnv HOME={home} PATH=/usr/local/bin:/usr/bin:/bin
ForceCommand {folder}/shell
"""
_SHELL = """\
#!/bin/sh
cd
exec bash -c "$SSH_ORIGINAL_COMMAND"
"""
_NAME = "bench"
# what the measured process does: nothing but gpuforge is imported
_PUSH = """\
import sys
from pathlib import Path
from gpuforge.models.instance import Route
from gpuforge.node.client import NodeClient
from gpuforge.sync.push import Root, push
from gpuforge.transport.base import Endpoint
from gpuforge.transport.keys import parse_host_key
from gpuforge.transport.ssh import connect
folder, source, port, user, remote = sys.argv[1:]
folder = Path(folder)
endpoint = Endpoint(
    name="bench",
    alias="bench.1",
    route=Route(host="127.0.0.1", port=int(port), user=user),
    host_key=parse_host_key((folder / "host_key.pub").read_text()),
    folder=folder,
)
transport = connect(endpoint, control_dir=folder / "m")
push(NodeClient(transport), [Root(local=Path(source), remote=remote)], folder=folder)
"""


class Bench(NamedTuple):
    """The server, the cluster's folder and the places."""

    folder: Path
    source: Path
    home: Path
    port: int

    @property
    def ssh(self) -> list[str]:
        """The same binary, keys and options for every tool."""
        return ["ssh", "-F", str(self.folder / "ssh_config"), "-T"]

    def endpoint(self) -> Endpoint:
        """The server as gpuforge knows it."""
        key = parse_host_key((self.folder / "host_key.pub").read_text(encoding="utf-8"))
        route = Route(host="127.0.0.1", port=self.port, user=getpass.getuser())
        return Endpoint(name=_NAME, alias="bench.1", route=route, host_key=key, folder=self.folder)


class Spent(NamedTuple):
    """What one process took; memory in MB."""

    seconds: float
    memory: float


def spend(argv: list[str]) -> Spent:
    """Run one process and measure it; a failure ends the benchmark."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{argv[0]} ended with {process.returncode}")
    return Spent(seconds, usage.ru_maxrss / 1024)


def tools(bench: Bench) -> dict[str, Callable[[str, bool], list[str]]]:
    """Each tool's command line, for a target and whether the connection is kept."""

    def gpuforge(target: str, kept: bool) -> list[str]:  # noqa: FBT001 - one shape for all tools
        del kept  # the master is there, or was closed before
        where = [str(bench.folder), str(bench.source), str(bench.port), getpass.getuser()]
        return [sys.executable, "-c", _PUSH, *where, target]

    def rsync(target: str, kept: bool) -> list[str]:  # noqa: FBT001
        options = [] if kept else ["-o", "ControlPath=none"]
        remote_shell = " ".join([*bench.ssh, *options])
        return ["rsync", "-a", "--delete", "-e", remote_shell, f"{bench.source}/", f"{_NAME}:{target}/"]

    return {"gpuforge": gpuforge, "rsync": rsync}


def make_data(folder: Path, count: int, size: int) -> None:
    """An ImageFolder-like tree of incompressible files, always the same."""
    draw = random.Random(7)
    for index in range(count):
        path = folder / f"class{index % 100:03}" / f"img{index:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.randbytes(size))


def change_some(bench: Bench, round_: int) -> None:
    """Rewrite one file in a hundred."""
    for path in sorted(bench.source.rglob("*.jpg"))[round_ % 100 :: 100]:
        path.write_bytes(random.Random(round_).randbytes(path.stat().st_size))


@contextlib.contextmanager
def server(scratch: Path) -> Iterator[Bench]:
    """OpenSSH's sshd with a home of its own, so that no start-up file of the user's shell is measured."""
    folder, home = scratch / "cluster", scratch / "home"
    folder.mkdir(mode=0o700)
    (folder / "m").mkdir(mode=0o700)
    home.mkdir()
    (folder / "authorized_keys").write_text(ensure_key(folder) + "\n", encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bench = Bench(folder, scratch / "data", home, port)
    (folder / "shell").write_text(_SHELL, encoding="utf-8")
    (folder / "shell").chmod(0o700)
    (folder / "sshd_config").write_text(
        _SSHD_CONFIG.format(port=port, folder=folder, home=home), encoding="utf-8"
    )
    write_cluster_files(folder, [bench.endpoint()], control_dir=folder / "m")
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    process = subprocess.Popen([sshd, "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"])
    try:
        until = time.monotonic() + 10
        while subprocess.run([*bench.ssh, _NAME, "true"], check=False, capture_output=True).returncode:
            if time.monotonic() > until:
                sys.exit("sshd did not start: " + (folder / "sshd.log").read_text(encoding="utf-8")[-2000:])
        yield bench
    finally:
        close_masters(folder, control_dir=folder / "m")
        process.terminate()
        process.wait()


def is_equal(one: Path, two: Path) -> bool:
    """Names and contents."""
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    if names != sorted(str(path.relative_to(two)) for path in two.rglob("*") if path.is_file()):
        return False
    return not filecmp.cmpfiles(one, two, names, shallow=False)[1]


def measure(bench: Bench, rounds: int) -> dict[tuple[str, str, str], list[Spent]]:
    """Every tool, connection and operation, interleaved."""
    found: dict[tuple[str, str, str], list[Spent]] = {}
    for round_ in range(rounds):
        for connection in ("kept", "new"):
            names = {tool: f"{tool}-{connection}-{round_}" for tool in tools(bench)}
            for operation in ("first", "noop", "changed"):
                if operation == "changed":
                    change_some(bench, round_)
                for tool, command in tools(bench).items():
                    if connection == "new":
                        close_masters(bench.folder, control_dir=bench.folder / "m")
                    else:
                        subprocess.run([*bench.ssh, _NAME, "true"], check=True)
                    spent = spend(command(names[tool], connection == "kept"))
                    found.setdefault((tool, connection, operation), []).append(spent)
                    if operation != "noop" and not is_equal(bench.source, bench.home / names[tool]):
                        sys.exit(f"{tool}: the copy is not equal")
            for name in names.values():
                shutil.rmtree(bench.home / name)
    return found


def pipe_limit(bench: Bench) -> float:
    """Seconds for the same bytes through the bare pipe."""
    began = time.perf_counter()
    pack = subprocess.Popen(["tar", "-C", bench.source, "-cf", "-", "."], stdout=subprocess.PIPE)
    subprocess.run([*bench.ssh, _NAME, "cat >/dev/null"], stdin=pack.stdout, check=True)
    pack.wait()
    return time.perf_counter() - began


def report(found: dict[tuple[str, str, str], list[Spent]], limit: float) -> None:
    """The table, and the line others read."""
    medians = {key: statistics.median(spent.seconds for spent in row) for key, row in found.items()}
    memory = max(spent.memory for (tool, *_), row in found.items() if tool == "gpuforge" for spent in row)
    print(f"{'connection':<12}{'operation':<12}{'gpuforge s':>12}{'rsync -a s':>12}{'ratio':>8}")
    words = []
    for connection in ("kept", "new"):
        for operation in ("first", "noop", "changed"):
            ours = medians["gpuforge", connection, operation]
            theirs = medians["rsync", connection, operation]
            print(f"{connection:<12}{operation:<12}{ours:>12.2f}{theirs:>12.2f}{ours / theirs:>8.2f}")
            words.append(
                f"{operation}_{connection}={ours:.3f}s {operation}_{connection}_ratio={ours / theirs:.2f}"
            )
    print(f"limit, tar through ssh over a kept connection: {limit:.2f} s")
    print(f"sync_first: {' '.join(words)} pipe={limit:.3f}s peak_memory={memory:.0f}MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=8192, help="bytes per file")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    memory_disk = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a memory disk is meant
    with (
        tempfile.TemporaryDirectory(prefix="gfb-", dir=memory_disk) as scratch,
        server(Path(scratch)) as bench,
    ):
        for line in (["rsync", "--version"], ["ssh", "-V"]):
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            print((done.stdout or done.stderr).splitlines()[0])
        make_data(bench.source, options.files, options.size)
        limit = pipe_limit(bench)
        report(measure(bench, options.rounds), limit)


if __name__ == "__main__":
    main()
