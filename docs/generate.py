"""Write the reference pages that say what the code says: verbs, errors, keys of a task file, its JSON Schema.

``python docs/generate.py`` writes them anew; a test fails while they differ from what it would write.
"""  # noqa: INP001 - a script beside the pages it writes

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpuforge import errors
from gpuforge.cli.main import COMMANDS, cli
from gpuforge.providers.fake.cli import fake
from gpuforge.spec.schema import SCHEMA_FILE, schema_text, task_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCS = Path(__file__).resolve().parent
_NOTE = "<!-- written by docs/generate.py -->"
_ABOUT_CLI = """\
Every verb takes `--help`. With `--json`, stdout holds one document `{schema, ok, data, warnings,
error}` and nothing else (verbs that stream print one object a line before it); what is for a person
goes to stderr. Exit codes: [Exit codes](exit-codes.md)."""
_ABOUT_ERRORS = """\
gpuforge raises these and nothing else. Each has `brief` (what happened), `details` (why),
`resolution` (what to do) and a stable `code`, which `--json` shows as `error.code`. A kind says
what the caller can do next; all can be imported from `gpuforge`."""
_HANDLING = """\
```python
import gpuforge as gf

try:
    cluster = forge.up(task)
except gf.ProvisionError as error:
    for attempt in error.attempts:
        print(attempt.instance_type, attempt.place, attempt.reason)
except gf.CleanupError as error:
    print(error.leftovers)  # something may still cost money
except gf.GpuforgeError as error:
    print(error.brief, error.details, error.resolution)
```"""
_ABOUT_TASKS = """\
A task file is one YAML map. Keys are SkyPilot's where SkyPilot has them, with the same meaning; a
key that is not in these tables is refused by name and line, never ignored. An empty value is the
same as leaving the key out, except under `envs` and `secrets`. For editors: [JSON
Schema](gpuforge.schema.json). How keys work together: [Write a task file](../how-to/task-file.md)."""


def pages() -> dict[str, str]:
    """Every generated file: path below ``docs``, and its content."""
    return {
        "reference/cli.md": cli_page(),
        "reference/errors.md": errors_page(),
        "reference/task-file.md": task_file_page(),
        f"reference/{SCHEMA_FILE}": schema_text(),
    }


def commands() -> dict[str, click.Command]:
    """Every verb by the words that call it, groups included."""
    found: dict[str, click.Command] = {"gpuforge": cli}
    for name, (module, _) in COMMANDS.items():
        found[f"gpuforge {name}"] = importlib.import_module(f"gpuforge.cli.{module}").command
    found["gpuforge fake"] = fake
    for name, verb in fake.commands.items():
        found[f"gpuforge fake {name}"] = verb
    return found


# ── command line ───────────────────────────────────────────────────────────────────────────────────────


def cli_page() -> str:
    """All verbs, with what ``--help`` says of each."""
    parts = [
        "# Command line",
        _NOTE,
        _ABOUT_CLI,
    ]
    for words, command in commands().items():
        if words != "gpuforge":
            parts += _verb(words, command)
    return "\n\n".join(parts) + "\n"


def _verb(words: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=words, terminal_width=96, max_content_width=96)
    level = "##" if words.count(" ") == 1 else "###"
    yield f"{level} {words}"
    yield inspect.cleandoc(command.help or "")
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield f"```text\n{usage}\n```"
    rows = [
        record
        for parameter in command.params
        if (record := parameter.get_help_record(context)) is not None and record[1]
    ]
    if rows:
        lines = [f"| `{_cell(names)}` | {_cell(meaning)} |" for names, meaning in rows]
        yield "\n".join(["| option | meaning |", "| --- | --- |", *lines])
    if command.epilog:
        epilog = inspect.cleandoc(command.epilog.replace("\b", ""))
        examples = re.sub(r"^Examples?:\s*", "", epilog).split("      ")
        yield "```text\n" + "\n".join(inspect.cleandoc(line) for line in examples) + "\n```"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


# ── errors ─────────────────────────────────────────────────────────────────────────────────────────────


def errors_page() -> str:
    """The tree of errors, and code, exit code and meaning of each kind."""
    tree = (errors.__doc__ or "").split("::", 1)[1].split("Typical use", 1)[0]
    lines = [
        f"| `{kind.code}` | `{kind.__name__}` | {kind.exit_code} | {_first(kind)} |" for kind in _kinds()
    ]
    return (
        "\n\n".join(
            [
                "# Errors",
                _NOTE,
                _ABOUT_ERRORS,
                f"```text\n{inspect.cleandoc(tree)}\n```",
                "\n".join(["| code | class | exit code | meaning |", "| --- | --- | --- | --- |", *lines]),
                "## Handling them",
                _HANDLING,
            ]
        )
        + "\n"
    )


def _kinds() -> list[type[errors.GpuforgeError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.GpuforgeError)
    ]


def _first(kind: type) -> str:
    return _cell((kind.__doc__ or "").strip().split("\n\n", 1)[0])


# ── task file ──────────────────────────────────────────────────────────────────────────────────────────


def task_file_page() -> str:
    """Keys of a task file, from the schema its models make."""
    schema = task_schema()
    resources: Mapping[str, Any] = schema["$defs"]["Resources"]["properties"]
    alternative: Mapping[str, Any] = schema["$defs"]["Alternative"]["properties"]
    only_there = ", ".join(f"`{name}`" for name in resources if name not in alternative)
    return (
        "\n\n".join(
            [
                "# Task file",
                _NOTE,
                _ABOUT_TASKS,
                "## At the top of the file",
                _keys(schema["properties"]),
                "## Under `resources`",
                _keys(resources),
                "## Under `resources.any_of` and `resources.ordered`",
                f"Maps with the keys of `resources` except {only_there}; the rest comes from there.",
            ]
        )
        + "\n"
    )


def _keys(properties: Mapping[str, Any]) -> str:
    lines = ["| key | written as | meaning |", "| --- | --- | --- |"]
    for name, schema in properties.items():
        shape = "" if "$ref" in schema else _cell(_shape(schema))
        lines.append(f"| `{name}` | {shape} | {_cell(schema.get('description', ''))} |")
    return "\n".join(lines)


def _shape(schema: Mapping[str, Any]) -> str:
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind != {"type": "null"}]
    return " or ".join(dict.fromkeys(filter(None, map(_kind, kinds))))


def _kind(schema: Mapping[str, Any]) -> str:
    if "examples" in schema:
        return ", ".join(f"`{_yaml(example)}`" for example in schema["examples"])
    if "enum" in schema:
        return " or ".join(f"`{word}`" for word in schema["enum"])
    if "$ref" in schema:
        return "a map"
    types = schema.get("type", [])
    names = {
        "object": "a map",
        "array": "a list",
        "integer": "a whole number",
        "boolean": "`true` or `false`",
    }
    first = next((kind for kind in ([types] if isinstance(types, str) else types) if kind != "null"), "")
    if first == "array" and schema.get("items", {}).get("type") == "object":
        return "a list of maps"
    return names.get(first, "a number" if first == "number" else "text" if first else "")


def _yaml(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def main() -> None:
    """Write what changed."""
    for name, text in pages().items():
        path = DOCS / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
