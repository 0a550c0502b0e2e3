"""The JSON Schema of task files, generated from the models, for editors.

``python -m gpuforge.spec.schema`` writes it to ``gpuforge.schema.json`` beside this module. It admits what
the models admit as far as a schema can say it; the models have the last word.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuforge.spec.keys import RESOURCE_ALIASES, TASK_ALIASES
from gpuforge.spec.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA_FILE", "main", "published_schema", "schema_text", "task_schema"]

SCHEMA_FILE = "gpuforge.schema.json"
_VERSION = 1


def task_schema() -> dict[str, Any]:
    """The schema of a task file, aliases included."""
    schema = Task.model_json_schema()
    schema["description"] = "What to run, on what, and for how long and how much at most."
    _tidy(schema)
    schema["properties"]["resources"]["description"] = Task.model_fields["resources"].description
    _add_aliases(schema, "", TASK_ALIASES)
    for name in ("Alternative", "Resources"):
        _add_aliases(schema["$defs"][name], f"/$defs/{name}", RESOURCE_ALIASES)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:gpuforge:task:{_VERSION}",
        **schema,
        "title": "gpuforge task",
    }


def _tidy(node: Any) -> None:
    """No titles made of key names, no defaults in Python's form; a key may stand empty."""
    if isinstance(node, list):
        for item in node:
            _tidy(item)
        return
    if not isinstance(node, dict):
        return
    for key in ("properties", "$defs"):
        for item in node.get(key, {}).values():
            item.pop("title", None)
            item.pop("default", None)
    if "additionalProperties" in node and "propertyNames" not in node:
        for name, item in node.get("properties", {}).items():
            node["properties"][name] = _or_nothing(item)
    for item in node.values():
        _tidy(item)


def _or_nothing(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = schema.get("anyOf", [{key: item for key, item in schema.items() if key != "description"}])
    if {"type": "null"} not in kinds:
        kinds = [*kinds, {"type": "null"}]
    return {"anyOf": kinds} | ({"description": schema["description"]} if "description" in schema else {})


def _add_aliases(schema: dict[str, Any], place: str, aliases: Mapping[str, str]) -> None:
    for alias, name in aliases.items():
        schema["properties"][alias] = {
            "$ref": f"#{place}/properties/{name}",
            "description": f"The same as {name}.",
        }


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(task_schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def published_schema() -> dict[str, Any]:
    """The schema shipped with the package."""
    text = resources.files("gpuforge.spec").joinpath(SCHEMA_FILE).read_text("utf-8")
    published: dict[str, Any] = json.loads(text)
    return published


def main() -> None:
    """Write the published file anew."""
    Path(__file__).with_name(SCHEMA_FILE).write_text(schema_text(), "utf-8")


if __name__ == "__main__":  # pragma: no cover - main() is tested
    main()
