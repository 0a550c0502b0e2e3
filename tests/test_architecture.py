"""The house keeps its shape: public names, import cost, sizes, neutrality, and tests that mirror the tree."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import gpuforge
from gpuforge.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "gpuforge"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
HEAVY = {
    "paramiko",
    "pydantic",
    "rich",
    "asyncssh",
    "starlette",
    "uvicorn",
    "google",
    "boto3",
    "cryptography",
}
# modules whose tests stand elsewhere: shapes are tested by what fills them, parts of a whole with the whole
COVERED_BY = {
    "node/remote/head.py": "simulated/test_jobs_gang.py",
    "node/remote/member.py": "simulated/test_jobs_gang.py",
    "node/remote/shells.py": "simulated/test_jobs.py",
    "node/remote/start.py": "simulated/test_jobs.py",
    "node/remote/supervisor.py": "simulated/test_jobs.py",
    "node/remote/turns.py": "simulated/test_jobs.py",
    "simcloud/machines/link.py": "unit/simcloud/test_link.py",
    "spec/resources.py": "unit/spec/test_task.py",
    "transport/base.py": "contract/test_transport_contract.py",
}
_SMALL = 40


def loaded(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after ``code``."""
    tail = "\nimport sys as _s\nprint('\\n'.join(sorted({n.partition('.')[0] for n in _s.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def run(*argv: str) -> str:
    """Code that runs a command line to its end."""
    return (
        f"from gpuforge.cli.main import main\ntry:\n main({list(argv)!r})\n"
        "except SystemExit as end:\n assert end.code == 0, end.code\n"
    )


def test_the_public_names_are_what_can_be_imported():
    """Lazily, each of them, and no other."""
    for name in gpuforge.__all__:
        assert getattr(gpuforge, name) is not None
    assert dir(gpuforge) == sorted(gpuforge.__all__)
    assert list(gpuforge.__all__) == sorted(gpuforge.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = gpuforge.Nope


def test_the_public_errors_are_the_whole_tree():
    """Whatever is raised can be caught by a public name."""
    errors = importlib.import_module("gpuforge.errors")
    kinds = {
        name
        for name in errors.__all__
        if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), Exception)
    }

    assert kinds <= set(gpuforge.__all__)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_module_says_what_it_is_for_and_what_it_offers(path):
    """A docstring, and ``__all__`` whose names exist."""
    tree = ast.parse((SOURCE / path).read_text("utf-8"))

    assert ast.get_docstring(tree), path
    exported = next(
        (ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
         and getattr(node.targets[0], "id", "") == "__all__"),
        None,
    )  # fmt: skip
    if exported is not None:
        module = importlib.import_module(
            ".".join(("gpuforge", *path.with_suffix("").parts)).removesuffix(".__init__")
        )
        assert [name for name in exported if not hasattr(module, name)] == []


@pytest.mark.parametrize(
    ("code", "light"),
    [
        ("import gpuforge", {*HEAVY, "click", "yaml"}),
        (run("--help"), {*HEAVY, "yaml"}),
        (run("--version"), {*HEAVY, "yaml"}),
        (run("status"), HEAVY),
        (run("completion", "bash"), HEAVY),
    ],
    ids=["import", "help", "version", "status", "completion"],
)
def test_starting_costs_little(code, light):
    """By what is loaded, not by the clock."""
    assert loaded(code) & light == set()


def test_the_way_of_the_data_fits_on_a_few_screens():
    """The façade is at most 300 lines, and no provider's name is in it."""
    text = (SOURCE / "forge.py").read_text("utf-8")
    points = importlib.import_module("gpuforge.providers.registry").names()

    assert len(text.splitlines()) <= 300
    assert [name for name in (*points, "gcp", "aws") if f'"{name}"' in text or f"'{name}'" in text] == []


def test_no_module_decides_by_a_providers_name():
    """Only a provider's own package and what speaks to people by default may name one."""
    found = []
    for path in MODULES:
        if path.parts[0] in {"providers", "simcloud", "testing"}:
            continue
        for node in ast.walk(ast.parse((SOURCE / path).read_text("utf-8"))):
            if isinstance(node, ast.Compare):
                words = {
                    part.value
                    for side in (node.left, *node.comparators)
                    for part in ast.walk(side)
                    if isinstance(part, ast.Constant)
                }
                # the settings file has a table of that name for the simulated cloud's own settings
                if words & {"fake", "gcp", "aws"} and str(path) != "spec/settings.py":
                    found.append(f"{path}:{node.lineno}")
    assert found == []


def test_every_verb_stands_in_the_table_with_its_line():
    """And its module has that command, with help and an example."""
    for verb, (module, line) in COMMANDS.items():
        command = importlib.import_module(f"gpuforge.cli.{module}").command
        assert command.name == verb
        assert line
        assert command.help
        assert f"gpuforge {verb}" in (command.epilog or "") or verb == "completion"
        assert command.epilog.startswith(("Example:", "Examples:"))


def test_tests_mirror_the_tree():
    """Every module that does something has its test beside it, path for path."""
    missing = []
    for path in MODULES:
        lines = len((SOURCE / path).read_text("utf-8").splitlines())
        if lines <= _SMALL or path.name == "__init__.py" or path.parts[0] == "testing":
            continue
        beside = Path("unit") / path.parent / f"test_{path.name}"
        if not (ROOT / "tests" / COVERED_BY.get(str(path), beside)).exists():
            missing.append(str(path))
    assert missing == []


def test_tests_say_what_they_show():
    """Every test module has a docstring."""
    without = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]

    assert without == []


def test_sizes_stay_readable():
    """No file of the product above 600 lines."""
    sizes = {path: len((SOURCE / path).read_text("utf-8").splitlines()) for path in MODULES}

    assert {path: size for path, size in sizes.items() if size > 600} == {}
