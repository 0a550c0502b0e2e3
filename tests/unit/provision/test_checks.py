"""What doctor looks at on this computer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from gpuforge.models.instance import Check, CheckStatus
from gpuforge.provision.checks import all_checks
from gpuforge.spec.settings import load_settings
from gpuforge.state.journal import Journal
from gpuforge.state.paths import Paths

ACCOUNT = Check(name="account", status=CheckStatus.SKIP, message="not asked")
PROVIDER = SimpleNamespace(preflight=lambda: (ACCOUNT,))


@pytest.fixture
def paths() -> Paths:
    return Paths.from_environment()


@pytest.fixture
def checks(paths, manual_clock, tmp_path):
    def run():
        settings = load_settings(paths, environ={}, cwd=tmp_path)
        found = all_checks(settings, paths, manual_clock, PROVIDER)
        return {check.name: check for check in found if check.name != "settings"}

    return run


def test_a_fresh_computer_is_fine(checks, paths):
    """Nothing was made by looking."""
    found = checks()

    assert [found[name].status for name in ("ssh", "state", "journal")] == [CheckStatus.PASS] * 3
    assert found["journal"].message == "none yet: nothing was ever rented"
    assert found["account"] is ACCOUNT
    assert not paths.state.exists()


def test_the_journal_tells_whose_it_is(checks, paths, manual_clock):
    """By its id."""
    paths.state.mkdir()
    with Journal.open(paths.journal, head_path=paths.journal_head, clock=manual_clock) as journal:
        identity = journal.journal_id

    assert checks()["journal"].message.startswith(identity)


def test_a_journal_that_cannot_be_read_fails(checks, paths):
    """With what to do."""
    paths.state.mkdir()
    paths.journal.write_text("no database")

    assert checks()["journal"].status is CheckStatus.FAIL


def test_without_the_openssh_client_it_still_works(checks, monkeypatch):
    """Slower, and it says so."""
    monkeypatch.setenv("PATH", "/nowhere")

    check = checks()["ssh"]

    assert check.status is CheckStatus.SKIP
    assert "slower" in check.message
    assert check.fix


def test_a_folder_that_cannot_be_written_fails(checks, monkeypatch):
    """No intent could be recorded, so nothing would be rented."""
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere

    check = checks()["state"]

    assert check.status is CheckStatus.FAIL
    assert "GPUFORGE_HOME" in check.fix


def test_a_plug_in_that_cannot_be_loaded_is_named(checks, tmp_path, monkeypatch):
    """The others are not hindered."""
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gpuforge.providers]\nbroken = no_such_module:Thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    check = checks()["provider"]

    assert check.status is CheckStatus.FAIL
    assert check.message.startswith("broken cannot be loaded: ")


def test_every_setting_is_shown_with_its_origin(paths, manual_clock):
    """One line each."""
    settings = load_settings(paths, environ={"GPUFORGE_REGION": "sim-east1"}, cwd=Path("/"))

    told = [c.message for c in all_checks(settings, paths, manual_clock, PROVIDER) if c.name == "settings"]

    assert "region = sim-east1 (env GPUFORGE_REGION)" in told
    assert "provider = fake (default)" in told


def test_a_misspelt_variable_is_told(paths, manual_clock):
    """It is no setting, and nobody would notice."""
    settings = load_settings(paths, environ={"GPUFORGE_REGOIN": "sim-east1"}, cwd=Path("/"))

    found = all_checks(settings, paths, manual_clock, PROVIDER)

    assert any(c.status is CheckStatus.SKIP and "GPUFORGE_REGOIN" in c.message for c in found)
