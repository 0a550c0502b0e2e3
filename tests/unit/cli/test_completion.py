"""Shells complete verbs, options and names of clusters."""

from __future__ import annotations

import subprocess

import pytest

BASH = {"_GPUFORGE_COMPLETE": "bash_complete"}


def completed(process, *words: str) -> set[str]:
    """What bash would offer, by click's protocol: type and value in a line."""
    env = {**BASH, "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    child = process(env=env)
    out, err = child.communicate()
    assert (child.returncode, err) == (0, b"")
    return {line.partition(",")[2] for line in out.decode().splitlines() if line}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell, gpuforge):
    """To be read by eval."""
    result = gpuforge("completion", shell)

    assert result.code == 0
    assert "_GPUFORGE_COMPLETE" in result.out


def test_the_bash_script_is_bash(gpuforge):
    """Parsed by the shell itself."""
    script = gpuforge("completion", "bash").out

    assert subprocess.run(["bash", "-n"], input=script.encode(), check=False).returncode == 0


def test_verbs_are_completed(process):
    """From the table."""
    assert completed(process, "gpuforge", "st") == {"status"}


def test_options_are_completed(process):
    """Of the verb at hand."""
    assert "--no-refresh" in completed(process, "gpuforge", "status", "--no")


@pytest.mark.parametrize(
    "words", [["down"], ["status"], ["ssh"], ["run", "-c"], ["logs", "-c"], ["up", "-c"]]
)
def test_names_of_clusters_are_completed(words, process, live):
    """Wherever one is wanted."""
    assert completed(process, "gpuforge", *words, "d") == {"dev"}


def test_a_broken_journal_does_not_disturb_typing(process, gpuforge_home):
    """Nothing is offered, nothing is said."""
    state = gpuforge_home / "state"
    state.mkdir()
    (state / "journal.sqlite3").write_text("no database")

    assert completed(process, "gpuforge", "down", "d") == set()
