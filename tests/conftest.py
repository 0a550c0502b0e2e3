"""Every test has a home of its own: no state, settings or credentials of the person who runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from gpuforge.redact import Redactor

if TYPE_CHECKING:
    from pathlib import Path

# a busy computer is no reason to fail an example
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

_STRAY = ("GPUFORGE_", "GOOGLE_", "AWS_", "CLOUDSDK_", "SSH_A")


@pytest.fixture(autouse=True)
def gpuforge_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``GPUFORGE_HOME`` and HOME in a temporary folder; stray settings of the caller removed."""
    for name in list(os.environ):
        if name.startswith(_STRAY):
            monkeypatch.delenv(name)
    home = tmp_path / "gf-home"
    home.mkdir()
    monkeypatch.setenv("GPUFORGE_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    return home


@pytest.fixture(autouse=True)
def own_redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of one test does not mask the words of the next."""
    monkeypatch.setattr("gpuforge.redact._redactor", Redactor())
