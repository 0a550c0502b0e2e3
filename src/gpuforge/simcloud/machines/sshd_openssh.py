"""The other SSH server of a simulated machine: OpenSSH's own sshd, for the highest fidelity.

It runs as the account that runs gpuforge and lets in only that account. ``SetEnv HOME`` changes neither the
working directory nor where SFTP starts, so every command goes through a wrapper that gives it the machine's
HOME, directory and environment, and ``sftp-server`` is told where to start. Its SFTP is OpenSSH's: unlike
asyncssh's here, it does not refuse paths outside the machine's folder.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from gpuforge.errors import ProviderError
from gpuforge.simcloud.machines import processes, specfile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpuforge.simcloud.machines.children import Child, Children

__all__ = ["OpenSSHServer", "find_sshd", "render_config", "render_wrapper"]

_SSHD_PLACES = ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/opt/homebrew/sbin/sshd", "/usr/bin/sshd")
_SFTP_PLACES = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)
_START_SECONDS = 10.0


def find_sshd() -> Path | None:
    """The sshd of this host; its full path, which it insists on."""
    for place in _SSHD_PLACES:
        if os.access(place, os.X_OK):
            return Path(place)
    found = shutil.which("sshd")
    return Path(found).absolute() if found else None


def _make_privilege_folder() -> None:
    """As root, sshd wants an empty folder for the processes it strips of rights."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def _find_sftp() -> str | None:
    return next((place for place in _SFTP_PLACES if os.access(place, os.X_OK)), None)


def render_config(*, folder: Path, home: Path, host: str, port: int, wrapper: Path, sftp: str | None) -> str:
    """``sshd_config`` of one machine; ``folder`` holds the host key and ``authorized_keys``."""
    lines = [
        f"ListenAddress {host}:{port}",
        f"HostKey {_word(folder / 'host_key')}",
        f"PidFile {_word(folder / 'sshd.pid')}",
        f"AuthorizedKeysFile {_word(folder / 'authorized_keys')}",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "PermitUserEnvironment no",
        "PermitUserRC no",
        "AllowAgentForwarding no",
        "X11Forwarding no",
        "PrintMotd no",
        "PrintLastLog no",
        "UseDNS no",
        "MaxSessions 100",
        "MaxStartups 200",
        "LogLevel INFO",
        "AcceptEnv LANG LC_* COLORTERM NO_COLOR",
        f"SetEnv {_word('HOME=' + str(home))}",
        f"ForceCommand {shlex.quote(str(wrapper))}",
    ]
    if sftp is not None:
        lines.append(f"Subsystem sftp {sftp} -d {shlex.quote(str(home))}")
    return "\n".join(lines) + "\n"


def _word(value: object) -> str:
    text = str(value)
    return (
        '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if any(c in text for c in ' "\\') else text
    )


def render_wrapper(environ: Mapping[str, str], home: Path) -> str:
    """The script every session runs: nothing of sshd's own environment passes but what names the session."""
    own = " ".join(shlex.quote(f"{name}={value}") for name, value in sorted(environ.items()))
    return f"""#!/bin/sh
mkdir -p {shlex.quote(str(home))}
cd {shlex.quote(str(home))} || exit 255
set -- "SSH_CLIENT=$SSH_CLIENT" "SSH_CONNECTION=$SSH_CONNECTION"
if [ -n "${{SSH_TTY:-}}" ]; then
  set -- "$@" "SSH_TTY=$SSH_TTY" "TERM=${{TERM:-xterm}}"
fi
for name in LANG LC_ALL LC_CTYPE COLORTERM NO_COLOR; do
  eval "value=\\${{$name:-}}"
  if [ -n "$value" ]; then set -- "$@" "$name=$value"; fi
done
if [ -n "${{SSH_ORIGINAL_COMMAND+given}}" ]; then
  exec env -i {own} "$@" /bin/bash -c "$SSH_ORIGINAL_COMMAND"
fi
exec env -i {own} "$@" /bin/bash -l
"""


class OpenSSHServer:
    """One machine's sshd, a child of the supervisor.

    Args:
        folder: Where its key, configuration and log lie.
    """

    def __init__(
        self,
        *,
        public_keys: Sequence[str],
        environ: Mapping[str, str],
        home: Path,
        folder: Path,
        children: Children,
    ) -> None:
        self._folder = folder
        self._home = home
        self._environ = environ
        self._children = children
        self._child: Child | None = None
        keys = folder / "authorized_keys"
        specfile.replace_text(keys, "".join(f"{key.strip()}\n" for key in public_keys))

    async def listen(self, host: str, port: int) -> None:
        """Start sshd and return once it answers.

        Raises:
            ProviderError: It is not installed, or did not start; its own words are in ``details``.
        """
        sshd = find_sshd()
        if sshd is None:
            raise ProviderError(
                "OpenSSH's sshd is not installed",
                resolution="install openssh-server, or unset GPUFORGE_FAKE_SSHD to use the built-in server",
            )
        wrapper = self._folder / "session"
        specfile.replace_text(wrapper, render_wrapper(self._environ, self._home))
        wrapper.chmod(0o700)
        config = self._folder / "sshd_config"
        text = render_config(
            folder=self._folder, home=self._home, host=host, port=port, wrapper=wrapper, sftp=_find_sftp()
        )
        specfile.replace_text(config, text)
        log = self._folder / "sshd.log"
        _make_privilege_folder()
        self._child = self._children.start(
            [str(sshd), "-D", "-f", str(config), "-E", str(log)],
            environ={"PATH": os.defpath, processes.MARKER: self._environ[processes.MARKER]},
            folder=self._folder,
        )
        ticks = processes.start_ticks(self._child.pid)
        specfile.write_record(self._folder / "sshd.json", pid=self._child.pid, ticks=ticks)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._answers(host, port)
        except (TimeoutError, ChildProcessError) as error:
            words = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise ProviderError(f"sshd did not start on {host}:{port}", details=words) from error

    async def _answers(self, host: str, port: int) -> None:
        while True:
            if self._child is None or self._child.ended.done():
                raise ChildProcessError("sshd ended")
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            banner = await reader.readline()
            writer.close()
            if banner.startswith(b"SSH-2.0"):
                return

    def close(self) -> None:
        """The supervisor ends it with everything else."""
        self._child = None
