"""Between reading and validating: one name per key, lists of variables as maps, keys that clash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpuforge.spec.environment import pairs_of
from gpuforge.spec.keys import RESOURCE_ALIASES, TASK_ALIASES
from gpuforge.spec.mistakes import KeyPath, Marks, Origins, Refusal
from gpuforge.spec.values import parse_infra, parse_provider
from gpuforge.spec.wording import join_or, quoted

__all__ = ["canonical", "clashes", "gather_labels"]

_ALTERNATIVES = ("any_of", "ordered")
_PARTS = ("cloud", "region", "zone")


def canonical(values: Mapping[str, Any], origins: Origins) -> tuple[dict[str, Any], list[Refusal]]:
    """The same task with each key under its one name; a key with nothing after it is as absent.

    Places in ``origins`` follow their keys.
    """
    refusals: list[Refusal] = []
    task = _renamed(values, (), TASK_ALIASES, origins, refusals)
    resources = task.get("resources")
    if isinstance(resources, Mapping):
        resources = _renamed(resources, ("resources",), RESOURCE_ALIASES, origins, refusals)
        for key in _ALTERNATIVES:
            if isinstance(resources.get(key), (list, tuple)):
                resources[key] = [
                    _renamed(item, ("resources", key, index), RESOURCE_ALIASES, origins, refusals)
                    if isinstance(item, Mapping)
                    else item
                    for index, item in enumerate(resources[key])
                ]
        task["resources"] = resources
    for key in ("envs", "secrets"):
        if isinstance(task.get(key), (list, tuple)):
            task[key], indices, wrong = pairs_of(list(task[key]))
            refusals.extend(Refusal(message=item.message, at=(key, *item.at)) for item in wrong)
            for name, index in indices.items():
                _move(origins, (key, index), (key, name))
    return task, refusals


def _renamed(
    values: Mapping[str, Any],
    path: KeyPath,
    aliases: Mapping[str, str],
    origins: Origins,
    refusals: list[Refusal],
) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for key, value in values.items():
        name = aliases.get(key, key)
        if name != key and name in values:
            message = f"{quoted(key)} and {quoted(name)} are the same; remove one"
            refusals.append(Refusal(message=message, at=(*path, key), on_key=True))
            continue
        if name in renamed:
            message = f"{quoted(key)} and another name of {quoted(name)} are the same; remove one"
            refusals.append(Refusal(message=message, at=(*path, key), on_key=True))
            continue
        if name != key:
            _move(origins, (*path, key), (*path, name))
        if value is not None:
            renamed[name] = value
    return renamed


def _move(origins: Origins, old: KeyPath, new: KeyPath) -> None:
    marks: dict[KeyPath, Marks] = dict(origins.marks)
    for path, where in origins.marks.items():
        if path[: len(old)] == old:
            marks[(*new, *path[len(old) :])] = where
    origins.marks = marks


def clashes(values: Mapping[str, Any]) -> Iterator[Refusal]:
    """Keys that are each well formed but do not go together; looked for even when others are refused."""
    yield from _variable_clashes(values)
    resources = values.get("resources")
    if not isinstance(resources, Mapping):
        resources = {}
    yield from _place_clashes(values, resources)
    yield from _label_clashes(values, resources)
    both = [key for key in _ALTERNATIVES if key in resources]
    if len(both) > 1:
        message = '"any_of" (cheapest first) and "ordered" (in order) exclude each other; keep one'
        yield Refusal(message=message, at=("resources", "ordered"), on_key=True)
    for key in both:
        if resources[key] == []:
            yield Refusal(message="no alternative is listed here", at=("resources", key))


def gather_labels(values: dict[str, Any], origins: Origins) -> None:
    """Put the labels written under ``resources`` among the task's own, for there is one set of instances."""
    resources = values.get("resources")
    theirs = resources.get("labels") if isinstance(resources, Mapping) else None
    ours = values.get("labels", {})
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in theirs.keys() - ours.keys():
            _move(origins, ("resources", "labels", key), ("labels", key))
        values["labels"] = {**theirs, **ours}


def _variable_clashes(values: Mapping[str, Any]) -> Iterator[Refusal]:
    envs, secrets = values.get("envs"), values.get("secrets")
    if isinstance(envs, Mapping) and isinstance(secrets, Mapping):
        for name in sorted(map(str, envs.keys() & secrets.keys())):
            message = f'{quoted(name)} stands in "envs" and in "secrets"; keep it in one'
            yield Refusal(message=message, at=("envs", name), on_key=True)


def _label_clashes(values: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[Refusal]:
    ours, theirs = values.get("labels"), resources.get("labels")
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted(map(str, ours.keys() & theirs.keys())):
            message = f'{quoted(key)} stands in "labels" too; keep it in one place'
            yield Refusal(message=message, at=("resources", "labels", key), on_key=True)


def _place_clashes(values: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[Refusal]:
    holders: list[tuple[KeyPath, Mapping[str, Any]]] = [((), values), (("resources",), resources)]
    for key in _ALTERNATIVES:
        items = resources.get(key)
        if isinstance(items, list):
            holders.extend(
                (("resources", key, index), item)
                for index, item in enumerate(items)
                if isinstance(item, Mapping)
            )
    for path, holder in holders:
        parts = [part for part in _PARTS if part in holder]
        if "infra" in holder and parts:
            message = f'"infra" says the whole place; remove {join_or([quoted(part) for part in parts])}'
            yield Refusal(message=message, at=(*path, parts[0]), on_key=True)
    yield from _split_place(values, resources)
    for key in ("infra", *_PARTS):
        if key in values and key in resources:
            message = f'{quoted(key)} stands at the top and under "resources"; keep one'
            yield Refusal(message=message, at=("resources", key), on_key=True)
    providers = [(path, name) for path, holder in holders for name in [_provider(holder)] if name]
    for path, name in providers[1:]:
        if name != providers[0][1]:
            both = f"{quoted(providers[0][1])} or {quoted(name)}"
            message = f"one task rents from one provider in this version; keep {both}"
            yield Refusal(message=message, at=path)


def _split_place(values: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[Refusal]:
    """A place of which one half stands at the top and the other under ``resources``."""
    parts = [part for part in _PARTS if part in resources]
    if "infra" in values and parts and "infra" not in resources:
        message = f'"infra" at the top says the whole place; remove {join_or([quoted(p) for p in parts])}'
        yield Refusal(message=message, at=("resources", parts[0]), on_key=True)
    parts = [part for part in _PARTS if part in values]
    if "infra" in resources and parts and "infra" not in values:
        message = f'"infra" says the whole place; remove {join_or([quoted(p) for p in parts])} at the top'
        yield Refusal(message=message, at=("resources", "infra"), on_key=True)


def _provider(holder: Mapping[str, Any]) -> str | None:
    try:
        if "infra" in holder:
            return parse_infra(str(holder["infra"])).provider
        return parse_provider(str(holder["cloud"])) if "cloud" in holder else None
    except ValueError:
        return None  # refused on its own
