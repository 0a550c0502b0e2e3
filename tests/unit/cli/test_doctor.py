"""``doctor`` says what works, where each setting came from, and fails only on failures."""

from __future__ import annotations


def test_each_setting_is_shown_with_its_origin(gpuforge, no_machines, gpuforge_home, monkeypatch):
    """Default, file or variable; all signs are good, exit 0."""
    monkeypatch.setenv("GPUFORGE_REGION", "sim-east1")
    (gpuforge_home / "config.toml").write_text('owner = "ada"\n')

    result = gpuforge("doctor", "--provider", "fake")

    assert result.code == 0
    assert "provider = fake (flag)\n" in result.out
    assert "region = sim-east1 (env GPUFORGE_REGION)\n" in result.out
    assert f"owner = ada ({gpuforge_home}/config.toml)\n" in result.out
    assert "max_duration = 6h (default)\n" in result.out
    texts = [line[4:].partition("  ")[2].strip() for line in result.out.splitlines()]
    assert len({line.index(text) for line, text in zip(result.out.splitlines(), texts, strict=True)}) == 1


def test_a_failure_shows_its_cure_and_exits_77(gpuforge, no_machines, gpuforge_home):
    """A journal that cannot be read."""
    (gpuforge_home / "state").mkdir()
    (gpuforge_home / "state" / "journal.sqlite3").write_text("no database")

    result = gpuforge("doctor")

    assert result.code == 77
    assert "  ✗ journal" in result.out


def test_the_checks_are_a_document(gpuforge, no_machines):
    """Each with name, status, message and cure."""
    checks = gpuforge("doctor", "--json").document["data"]

    assert {"settings", "ssh", "state", "journal"} <= {check["name"] for check in checks}
    assert {check["status"] for check in checks} == {"pass", "skip"}  # rows are no machines


def test_wrong_settings_are_refused_with_their_place(gpuforge, no_machines, gpuforge_home):
    """File and line."""
    (gpuforge_home / "config.toml").write_text('\nownr = "ada"\n')

    result = gpuforge("doctor")

    assert result.code == 64
    assert f"{gpuforge_home}/config.toml:2:1" in result.err
    assert 'did you mean "owner"?' in result.err
