"""From arguments to a task: file, flags, command, warnings."""

from __future__ import annotations

import pytest

from gpuforge.cli.tasks import is_task_file, read_task
from gpuforge.errors import SpecError
from gpuforge.forge import Forge


@pytest.mark.parametrize(
    ("word", "is_file"), [("t.yaml", True), ("a b.yml", True), ("python", False), ("", False)]
)
def test_task_files_are_told_by_their_suffix(word, is_file):
    """So a typo in a name is no command."""
    assert is_task_file(word) is is_file


def test_a_command_of_several_words_keeps_their_borders(here):
    """One word is a line of shell."""
    assert read_task(Forge(), None, command=("echo", "a b")).run == "echo 'a b'"
    assert read_task(Forge(), None, command=("echo a | wc",)).run == "echo a | wc"


def test_flags_win_over_the_file(here):
    """And a command over its run."""
    (here / "gpuforge.yaml").write_text("name: t\nnum_nodes: 2\nrun: 'true'\nenvs: {A: '1'}\n")

    task = read_task(Forge(), None, num_nodes=3, env={"A": "2"}, autostop=5, max_cost="7.5")
    other = read_task(Forge(), "gpuforge.yaml", command=("false",))

    assert (task.num_nodes, task.envs["A"], task.autostop_minutes, str(task.max_cost)) == (3, "2", 5, "7.5")
    assert (other.run, other.num_nodes) == ("false", 2)


def test_machines_can_be_described_by_flags_alone(here):
    """Without them a file is wanted."""
    assert read_task(Forge(), None, gpus="L4:1").source is None
    with pytest.raises(SpecError, match="there is no task file"):
        read_task(Forge(), None)


def test_what_the_user_should_know_is_warned_of(here, capsys):
    """Although nothing is wrong."""
    (here / "sub").mkdir()
    (here / "sub" / "t.yaml").write_text("run: 'true'\nworkdir: .\n")

    read_task(Forge(), "sub/t.yaml")

    assert "warning: " in capsys.readouterr().err
