"""A plan on the screen: workdir and mounts, warnings, and any width."""

from __future__ import annotations

TASK = "name: t\nresources: {accelerators: 'L4:1'}\nworkdir: .\nrun: 'true'\n"


def test_what_would_travel_is_counted(gpuforge, no_machines, monkeypatch):
    """Files, size and what is ignored; the folder as seen from home."""
    (no_machines / "gpuforge.yaml").write_text(TASK)
    (no_machines / "a.bin").write_bytes(b"x" * 3_100_000)
    (no_machines / "cache.pyc").write_bytes(b"")
    (no_machines / ".gpuforgeignore").write_text("*.pyc\n")

    text = gpuforge("plan").out

    line = next(line for line in text.splitlines() if line.startswith("  workdir"))
    assert line.startswith("  workdir       ~/here  ")
    assert line.endswith("3 files · 3.1 MB · 1 ignored")


def test_a_mounted_credential_is_warned_of(gpuforge, no_machines, tmp_path):
    """It would leave this computer."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_text("key")
    (no_machines / "gpuforge.yaml").write_text(TASK + f"file_mounts: {{~/.ssh: {tmp_path}/.ssh}}\n")

    result = gpuforge("plan")

    assert result.code == 0
    assert "warning: " in result.err


def test_on_a_narrow_terminal_nothing_is_lost(terminal, no_machines):
    """Lines fit; the notes stand below."""
    result = terminal("plan", "--gpus", "L4:1", width=60)

    assert max(map(len, result.out.splitlines())) <= 60
    assert "\n                sim-central1-a\n" in result.out
    assert " h limit)" in result.out
