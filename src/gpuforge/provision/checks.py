"""What ``gpuforge doctor`` looks at on this computer; each provider checks its own account."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from gpuforge.errors import StateError
from gpuforge.models.instance import Check, CheckStatus
from gpuforge.providers import registry
from gpuforge.state.journal import Journal

if TYPE_CHECKING:
    from gpuforge.models.clock import Clock
    from gpuforge.providers.base import Provider
    from gpuforge.spec.settings import Settings
    from gpuforge.state.paths import Paths

__all__ = ["all_checks"]


def all_checks(settings: Settings, paths: Paths, clock: Clock, provider: Provider) -> tuple[Check, ...]:
    """Settings with origins, SSH, folders, journal, plug-ins, then the provider's own; changes nothing."""
    here = (_ssh(), _folder(paths), _journal(paths, clock))
    return (*_settings(settings), *here, *_plugins(), *provider.preflight())


def _settings(settings: Settings) -> list[Check]:
    told = [
        Check(name="settings", status=CheckStatus.PASS, message=f"{name} = {value} ({origin})")
        for name, value, origin in settings.told()
    ]
    # a misspelt variable, a project file that was skipped: not wrong enough to stop, too odd to hide
    odd = [Check(name="settings", status=CheckStatus.SKIP, message=text) for text in settings.warnings]
    return told + odd


def _ssh() -> Check:
    binary = shutil.which("ssh")
    if binary is None:
        return Check(
            name="ssh",
            status=CheckStatus.SKIP,
            message="no OpenSSH binary: paramiko is used, bulk transfer is 3 to 4 times slower",
            fix="install OpenSSH's client",
        )
    said = subprocess.run([binary, "-V"], capture_output=True, text=True, check=False).stderr
    return Check(name="ssh", status=CheckStatus.PASS, message=f"{said.split(',')[0]}, used for bulk transfer")


def _folder(paths: Paths) -> Check:
    existing = next(p for p in (paths.state, *paths.state.parents) if p.exists())
    if not os.access(existing, os.W_OK):
        return Check(
            name="state",
            status=CheckStatus.FAIL,
            message=f"{existing} cannot be written: no intent could be recorded, so nothing will be rented",
            fix="set GPUFORGE_HOME to a folder of your own",
        )
    return Check(name="state", status=CheckStatus.PASS, message=f"{paths.state}")


def _journal(paths: Paths, clock: Clock) -> Check:
    if not paths.journal.exists():
        return Check(name="journal", status=CheckStatus.PASS, message="none yet: nothing was ever rented")
    try:
        journal = Journal.open(paths.journal, head_path=paths.journal_head, clock=clock)
    except StateError as error:
        return Check(name="journal", status=CheckStatus.FAIL, message=str(error), fix=error.resolution)
    message = f"{journal.journal_id}, one computer's own: a lost laptop's machines end at their deadlines"
    return Check(name="journal", status=CheckStatus.PASS, message=message)


def _plugins() -> list[Check]:
    return [
        Check(
            name="provider",
            status=CheckStatus.FAIL,
            message=f"{name} cannot be loaded: {reason}",
            fix="reinstall or remove that package",
        )
        for name, reason in registry.broken().items()
    ]
