"""The documentation is what the code says: pages are current, and links, tasks and commands are real."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
import yaml

from gpuforge.errors import GpuforgeError
from gpuforge.spec.load import load_task_text

if TYPE_CHECKING:
    from types import ModuleType

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
_PAGES = sorted(
    [
        *_DOCS.rglob("*.md"),
        *(_ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
        *_ROOT.glob("examples/*/README.md"),
    ]
)
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PLACEHOLDER = ("…", "mycloud")


def _load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", _DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_GENERATOR = _load_generator()
_COMMANDS: dict[str, click.Command] = _GENERATOR.commands()


def _name(path: Path) -> str:
    return str(path.relative_to(_ROOT))


def _prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text("utf-8"))


def _blocks(path: Path) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in _FENCE.finditer(path.read_text("utf-8"))]


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def _command_lines(path: Path) -> list[str]:
    """Every line that calls gpuforge: in blocks after a prompt, and in the prose's code."""
    prompt = r"" if path.name == "cli.md" else r"\$ "
    found = [
        match[1]
        for _, text in _blocks(path)
        for match in re.finditer(rf"^\s*{prompt}(?:\w+=\S+ )*(gpuforge\b.*)$", text, re.MULTILINE)
    ]
    found += re.findall(r"`(gpuforge [^`]+)`", _prose(path))
    return [line for line in found if "[OPTIONS]" not in line]


@pytest.mark.parametrize("name", sorted(_GENERATOR.pages()))
def test_a_generated_page_is_current(name):
    assert (_DOCS / name).read_text("utf-8") == _GENERATOR.pages()[name], "run  python docs/generate.py"


@pytest.mark.parametrize("path", _PAGES, ids=_name)
def test_every_link_inside_the_repository_leads_somewhere(path):
    for target in _LINK.findall(_prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        where, _, anchor = target.partition("#")
        file = (path.parent / where).resolve() if where else path
        assert file.exists(), f"{_name(path)} links to {target}"
        assert _ROOT in (file, *file.parents)
        if anchor:
            assert anchor in _anchors(file), f"{_name(path)} links to {target}"


def test_the_navigation_names_every_page():
    text = (_ROOT / "mkdocs.yml").read_text("utf-8")
    named = set(re.findall(r": ([\w./-]+\.md)$", text, re.MULTILINE))
    assert named == {str(page.relative_to(_DOCS)) for page in _DOCS.rglob("*.md")}


@pytest.mark.parametrize("path", _PAGES, ids=_name)
def test_every_task_in_a_yaml_block_loads(path, tmp_path):
    (tmp_path / "data").mkdir()
    tasks = [text for kind, text in _blocks(path) if kind == "yaml"]
    for text in tasks:
        try:
            load_task_text(text, environ={"HF_TOKEN": "x"}, cwd=tmp_path, known_providers=("fake",))
        except GpuforgeError as error:
            pytest.fail(f"{_name(path)}: {error}\n{text}")


def test_the_documentation_shows_tasks_and_commands():
    assert sum(kind == "yaml" for path in _PAGES for kind, _ in _blocks(path)) >= 8
    assert sum(len(_command_lines(path)) for path in _PAGES) >= 100


@pytest.mark.parametrize("path", _PAGES, ids=_name)
def test_every_command_line_names_verbs_and_options_that_exist(path):
    for line in _command_lines(path):
        assert _mistake(line) == "", f"{_name(path)}: {line}: {_mistake(line)}"


def test_the_check_of_command_lines_finds_what_does_not_exist():
    assert "no verb" in _mistake("gpuforge launch x")
    assert "no verb" in _mistake("gpuforge fake explode")
    assert "--epochs" in _mistake("gpuforge run --epochs 4")
    assert _mistake("gpuforge run -c sandbox -- python train.py --epochs 4") == ""


def _mistake(line: str) -> str:
    """What is wrong with a documented command line, or nothing."""
    text = re.split(r"  #| \| |; | && ", line)[0]
    words = shlex.split(text)
    verb, rest = words[0], words[1:]
    while rest and f"{verb} {rest[0]}" in _COMMANDS:
        verb, rest = f"{verb} {rest[0]}", rest[1:]
    if rest and isinstance(_COMMANDS[verb], click.Group) and not rest[0].startswith(("-", *_PLACEHOLDER)):
        return f"no verb {rest[0]}"
    if verb == "gpuforge":
        return "" if not rest or rest[0] in ("--help", "--version", *_PLACEHOLDER) else f"no verb {rest[0]}"
    command = _COMMANDS[verb]
    context = click.Context(command, help_option_names=["-h", "--help"])
    try:
        command.make_parser(context).parse_args(list(rest))
    except click.UsageError as error:
        return error.format_message()
    return ""


def test_every_exit_code_of_an_error_is_documented():
    text = (_DOCS / "reference" / "exit-codes.md").read_text("utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert {kind.exit_code for kind in _GENERATOR._kinds()} <= documented


def test_the_site_is_strict_and_asks_no_other_host():
    config = yaml.safe_load((_ROOT / "mkdocs.yml").read_text("utf-8"))
    assert config["strict"] is True
    assert config["theme"]["font"] is False
