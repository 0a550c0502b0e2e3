"""Shared options: questions, variables, and whose an option is."""

from __future__ import annotations

import contextlib

import click
import pytest

from gpuforge.cli import options
from gpuforge.cli.errors import UsageError
from gpuforge.cli.run import command as run
from gpuforge.cli.ssh import command as ssh
from gpuforge.errors import DeclinedError
from gpuforge.redact import redact


@pytest.mark.parametrize("default", [True, False])
def test_agreeing_beforehand_asks_nothing(default, capsys):
    """For scripts."""
    options.confirm("Rent it?", yes=True, default=default)

    assert capsys.readouterr().err == ""


def test_without_a_terminal_it_refuses(monkeypatch):
    """Exit 76, naming the question."""
    for stdin in (None, open("/dev/null")):  # noqa: PTH123, SIM115 - closed below
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(DeclinedError) as caught:
            options.confirm("Rent it?", yes=False)
        if stdin is not None:
            stdin.close()
        assert caught.value.exit_code == 76
        assert caught.value.details == "Rent it?"
        assert "--yes" in caught.value.resolution


class Terminal:
    """A terminal on which one line is typed."""

    def __init__(self, line: str) -> None:
        self._line = line

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._line


@pytest.mark.parametrize("answer", ["y\n", "Yes \n"])
def test_yes_goes_on(answer, monkeypatch):
    """In either case."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    options.confirm("Rent it?", yes=False, default=False)


@pytest.mark.parametrize(("default", "ok"), [(True, True), (False, False)])
def test_enter_alone_means_the_default(default, ok, monkeypatch, capsys):
    """Shown by the capital letter."""
    monkeypatch.setattr("sys.stdin", Terminal("\n"))

    with contextlib.nullcontext() if ok else pytest.raises(DeclinedError):
        options.confirm("Go on?", yes=False, default=default)

    assert capsys.readouterr().err == f"Go on? {'[Y/n]' if default else '[y/N]'} "


@pytest.mark.parametrize("answer", ["n\n", "what?\n", ""])
def test_anything_else_declines(answer, monkeypatch):
    """The end of the input too."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    with pytest.raises(DeclinedError, match="declined; nothing was done"):
        options.confirm("Rent it?", yes=False)


def test_variables_come_with_a_value_or_from_the_environment():
    """``NAME=`` is an empty value, ``NAME`` alone asks the environment."""
    option = click.Option(["--env"])
    read = options._env_pairs

    assert read(None, option, ("A=1", "B=", "C", "D=x=y z\n;")) == {
        "A": "1", "B": "", "C": None, "D": "x=y z\n;",
    }  # fmt: skip
    with pytest.raises(click.BadParameter):
        read(None, option, ("=1",))


def test_a_secret_is_masked_from_the_moment_it_is_read():
    """Also if everything fails afterwards."""
    options._env_pairs(None, click.Option(["--secret"]), ("TOKEN=swordfish-1",))

    assert redact("it is swordfish-1") == "it is ***"


@pytest.mark.parametrize(
    ("command", "argv", "meant"),
    [
        (run, ["python", "x.py", "--epochs", "4"], "gpuforge run -- python x.py --epochs 4"),
        (run, ["-c", "dev", "python", "-c", "1 2"], "gpuforge run -c dev -- python -c '1 2'"),
        (run, ["t.yaml", "ls", "-la"], "gpuforge run t.yaml -- ls -la"),
        (ssh, ["dev", "ls", "-la"], "gpuforge ssh dev -- ls -la"),
        (ssh, ["--node", "1", "dev", "ls", "-la"], "gpuforge ssh --node 1 dev -- ls -la"),
    ],
)
def test_a_commands_option_without_dashes_before_it_is_refused(command, argv, meant):
    """With the line that was meant."""
    root = click.Context(click.Group(), info_name="gpuforge")

    with pytest.raises(UsageError) as caught:
        command.make_context(command.name, argv, parent=root)

    assert caught.value.resolution == meant


@pytest.mark.parametrize(
    ("command", "argv", "words"),
    [
        (run, ["-c", "dev", "--", "python", "x.py", "--epochs", "4"], ("python", "x.py", "--epochs", "4")),
        (run, ["t.yaml", "--yes"], ("t.yaml",)),
        (run, ["nvidia-smi"], ("nvidia-smi",)),
        (run, ["--gpus=L4:1", "echo", "a"], ("echo", "a")),
        (run, ["ls", "--", "-la"], ("ls", "-la")),
        (run, [], ()),
        (ssh, ["dev", "--print"], ()),
        (ssh, ["dev", "--", "ls", "-la"], ("ls", "-la")),
    ],
)
def test_every_clear_command_line_is_taken(command, argv, words):
    """Ours before, theirs after."""
    context = command.make_context(command.name, list(argv))

    assert context.params["words"] == words
