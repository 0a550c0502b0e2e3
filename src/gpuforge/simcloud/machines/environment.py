"""The environment of everything that runs on a simulated machine: an allow-list, never the host's.

Isolation level 0: a machine has its own HOME, TMPDIR, working directory, python and environment, and its
processes end together. It separates state and lifetime, not security: all machines run as the user who
started them, on one kernel and one network.

What passes from the host: the time zone, the search path of shared libraries (some Pythons need it to
start), certificate bundles, and what ``pip install`` needs to find its index (``PIP_*``, proxies), each only
if its value holds no credential. Nothing else does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpuforge.simcloud.machines.processes import MARKER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuforge.simcloud.machines.link import MachineSpec

__all__ = [
    "Place",
    "forget_temporary",
    "from_host",
    "machine_environment",
    "omp_threads",
    "prepare_home",
    "short_temporary",
    "without_credentials",
]

_FROM_HOST = (
    "LD_LIBRARY_PATH", "TZ", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "PIP_CERT", "PIP_CONSTRAINT", "PIP_DEFAULT_TIMEOUT", "PIP_DISABLE_PIP_VERSION_CHECK",
    "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_NO_INDEX", "PIP_PREFER_BINARY",
    "PIP_PROXY", "PIP_RETRIES", "PIP_TIMEOUT", "PIP_TRUSTED_HOST",
)  # fmt: skip
_USER_INFO = re.compile(r"//[^/\s]*@")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
# a Unix socket's path holds about 107 bytes, and Python's own helpers append up to 35 to TMPDIR
_LONGEST_TEMPORARY = 68


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a machine lives on this host.

    Attributes:
        shims: Stand-ins for ``sudo``, ``nvidia-smi`` and their like.
        venv: The machine's own thin virtual environment.
        temporary: Its TMPDIR, under a short name.
        address: Its own address.
        metadata: ``host:port`` of its metadata service.
        boot_id: Changes with every boot.
        pip_cache: Downloads shared by the machines of one cloud.
    """

    folder: Path
    shims: Path
    venv: Path
    temporary: Path
    address: str
    metadata: str
    marker: str
    boot_id: str
    pip_cache: Path

    @property
    def home(self) -> Path:
        """HOME, and where every command starts."""
        return self.folder / "home"

    @property
    def search_path(self) -> str:
        """PATH: shims first, then the machine's python and scripts, then the system's."""
        return f"{self.shims}:{self.venv / 'bin'}:{_SYSTEM_PATH}"


def without_credentials(value: str) -> bool:
    """False for a URL that carries a user name or password."""
    return _USER_INFO.search(value) is None


def from_host(environ: Mapping[str, str]) -> dict[str, str]:
    """What passes from the host: named variables only, and none whose value holds a credential."""
    return {
        name: environ[name] for name in _FROM_HOST if name in environ and without_credentials(environ[name])
    }


def omp_threads(vcpus: int, gpus: int, host_cpus: int) -> int:
    """Threads per process, so that the ranks of one machine share what the host has."""
    return max(1, min(vcpus, host_cpus) // max(1, min(gpus, host_cpus)))


def machine_environment(spec: MachineSpec, place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a command on the machine.

    Little of ``environ``, the host's, passes.
    """
    gpus = 0 if spec.accelerator is None else spec.accelerator[2]
    return from_host(environ) | {
        "HOME": str(place.home),
        "PWD": str(place.home),
        "USER": spec.user,
        "LOGNAME": spec.user,
        "SHELL": "/bin/bash",
        "PATH": place.search_path,
        "LANG": "C.UTF-8",
        "TMPDIR": str(place.temporary),
        "HISTFILE": str(place.home / ".bash_history"),
        "HOSTNAME": spec.name,
        "VIRTUAL_ENV": str(place.venv),
        "VIRTUAL_ENV_DISABLE_PROMPT": "1",
        "PIP_CACHE_DIR": str(place.pip_cache),
        "OMP_NUM_THREADS": str(omp_threads(spec.vcpus, gpus, os.cpu_count() or 1)),
        # frameworks fall back to CPU and gloo
        "CUDA_VISIBLE_DEVICES": "",
        "GCE_METADATA_HOST": place.metadata,
        MARKER: place.marker,
        "GPUFORGE_HOST": place.address,
        "GPUFORGE_BOOT_ID": place.boot_id,
        "GPUFORGE_MACHINE_ROOT": str(place.folder),
        # a real systemctl called by its full path must not reach the host's own manager
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={place.folder}/no-system-bus",
        "SYSTEMCTL_FORCE_BUS": "1",
    }


def _short_link(target: Path) -> Path:
    links = Path(tempfile.gettempdir()) / f"gpuforge-{os.getuid()}-tmp"
    return links / hashlib.sha256(os.fsencode(target)).hexdigest()[:10]


def short_temporary(folder: Path) -> Path:
    """The machine's TMPDIR, behind a short symbolic link where its path is too long for a socket's name."""
    target = folder / "tmp"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if len(os.fsencode(target)) <= _LONGEST_TEMPORARY:
        return target
    link = _short_link(target)
    link.parent.mkdir(mode=0o700, exist_ok=True)
    if link.parent.is_symlink() or link.parent.stat().st_uid != os.getuid():
        return target  # somebody else's: a long name is the smaller evil
    if not link.is_symlink():
        link.symlink_to(target)
    return link


def forget_temporary(folder: Path) -> None:
    """Remove the short link, and its folder with the last of them."""
    link = _short_link(folder / "tmp")
    with contextlib.suppress(OSError):
        link.unlink(missing_ok=True)
        link.parent.rmdir()


def prepare_home(place: Place) -> None:
    """Make HOME; a login shell keeps the machine's PATH, which ``/etc/profile`` would replace."""
    place.home.mkdir(mode=0o755, parents=True, exist_ok=True)
    profile = place.home / ".bash_profile"
    if not profile.exists():
        profile.write_text(
            f"PATH={_quoted(place.search_path)}\nexport PATH\n"
            'if [ -f "$HOME/.bashrc" ]; then . "$HOME/.bashrc"; fi\n',
            encoding="utf-8",
        )
    startup = place.home / ".bashrc"
    if not startup.exists():
        startup.write_text("PS1='\\u@${HOSTNAME}:\\w\\$ '\n", encoding="utf-8")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
