"""The command table: every verb has help with an example, and nothing is loaded before it is used."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys

import click
import pytest

from gpuforge import __version__
from gpuforge.cli import main as module
from gpuforge.cli.main import COMMANDS, cli, main


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_explains_itself_with_an_example(verb, gpuforge):
    """Help names the usage, what it does, and one line to try."""
    result = gpuforge(verb, "--help")

    assert result.code == 0
    assert result.out.startswith(f"Usage: gpuforge {verb} ")
    assert f"gpuforge {verb}" in result.out.partition("Example")[2]


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_is_importable_and_answers_in_json(verb):
    """The table is true; each verb but the script printer has --json, and -o json is read too."""
    command = importlib.import_module(f"gpuforge.cli.{COMMANDS[verb][0]}").command

    assert isinstance(command, click.Command)
    assert command.name == verb
    assert COMMANDS[verb][1].endswith(".")
    options = {option for parameter in command.params for option in parameter.opts}
    assert verb == "completion" or {"--json", "-o"} <= options


def test_help_lists_the_table_in_order(gpuforge):
    """And the verbs that providers add."""
    text = gpuforge("--help").out

    places = [text.index(f"\n  {verb} ") for verb in [*COMMANDS, "fake"]]
    assert places == sorted(places)
    assert "gpuforge init && gpuforge run" in text


def test_the_version_is_one_line(gpuforge):
    """Of the package."""
    assert gpuforge("--version").out == f"gpuforge {__version__}\n"


def test_no_verb_at_all_shows_the_help(gpuforge):
    """And is a usage error for scripts."""
    result = gpuforge()

    assert result.code == 64
    assert result.out.startswith("Usage: gpuforge")


def test_main_exits_with_the_code(capsys):
    """The entry point of the package."""
    with pytest.raises(SystemExit) as caught:
        main(["nope"])

    assert caught.value.code == 64


def test_verbs_of_providers_come_by_entry_point(gpuforge):
    """The simulated cloud's own verbs are found like any other package's."""
    assert gpuforge("fake", "--help").out.startswith("Usage: gpuforge fake ")


def test_a_broken_plug_in_is_named_and_the_rest_works(gpuforge, monkeypatch, tmp_path):
    """Its verb is refused by name; other verbs do not notice."""
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gpuforge.cli]\nbroken = no_such_module:verbs\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    refused = gpuforge("broken")

    assert refused.code == 67
    assert refused.err.startswith("error: the verb 'broken' of a plug-in cannot be loaded\n  why  ")
    assert "no_such_module" in refused.err
    assert gpuforge("--version").code == 0


def test_listing_help_loads_no_verb():
    """Start-up is a feature."""
    code = (
        "import sys; from gpuforge.cli.main import main\ntry:\n main(['--help'])\nexcept SystemExit: pass\n"
    )
    code += "print([m for m in sys.modules if m.startswith('gpuforge.')])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = done.stdout.splitlines()[-1]
    assert "gpuforge.cli.main" in loaded
    assert "gpuforge.forge" not in loaded
    assert "gpuforge.cli.run'" not in loaded


def test_foreign_verbs_lead_somewhere():
    """Every word of another tool names a verb of ours."""
    assert {text.split()[0] for text in module._FOREIGN.values()} <= COMMANDS.keys()
    assert not module._FOREIGN.keys() & COMMANDS.keys()
    assert isinstance(cli, module.LazyGroup)
