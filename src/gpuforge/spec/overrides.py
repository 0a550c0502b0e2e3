"""What flags say over a task file: merged before validation, each value remembering its flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from gpuforge.spec.mistakes import KeyPath, Origins

__all__ = ["Overrides", "apply_overrides"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line (or a keyword of ``Task.from_yaml``) says; ``None`` says nothing.

    Attributes:
        envs: Values of ``--env NAME=value``; ``None`` for a bare ``--env NAME``, taken from the environment.
        secrets: The same for ``--secret``.
        gpus: In the file's grammar: ``H100:8``.
        disk_size: GB, or text such as ``1TB``.
        max_duration: Text such as ``6h``.
        autostop_minutes: Idle minutes; 0 turns autostop off.
        workdir: Relative to the caller's folder.
        run: A command in place of the file's.
    """

    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    envs: Mapping[str, str | None] = field(default_factory=dict)
    secrets: Mapping[str, str | None] = field(default_factory=dict)
    gpus: str | None = None
    cpus: str | int | None = None
    memory: str | None = None
    infra: str | None = None
    cloud: str | None = None
    region: str | None = None
    zone: str | None = None
    instance_type: str | None = None
    use_spot: bool | None = None
    disk_size: str | int | None = None
    image: str | None = None
    num_nodes: int | None = None
    max_duration: str | None = None
    max_cost: str | Decimal | None = None
    max_hourly_cost: str | Decimal | None = None
    autostop_minutes: int | None = None
    workdir: str | Path | None = None
    setup: str | None = None
    run: str | None = None
    launcher: str | None = None


_VARIABLES = ("envs", "secrets")
_MAPS = (*_VARIABLES, "labels")
_PLACE = ("infra", "cloud", "region", "zone")
_RESOURCES = {
    "gpus": "accelerators",
    "cpus": "cpus",
    "memory": "memory",
    "instance_type": "instance_type",
    "use_spot": "use_spot",
    "disk_size": "disk_size",
    "image": "image",
    "max_hourly_cost": "max_hourly_cost",
    "autostop_minutes": "autostop",
}


def apply_overrides(values: dict[str, Any], overrides: Overrides, origins: Origins) -> None:
    """Write what the flags say into canonical ``values``, and the flags' names into ``origins``."""
    said = {
        item.name: getattr(overrides, item.name)
        for item in fields(overrides)
        if getattr(overrides, item.name) is not None and item.name not in _MAPS
    }
    _merge_variables(values, overrides, origins)
    _merge_map(values, "labels", overrides.labels, "--label", origins)
    _replace_place(values, {key: said.pop(key) for key in _PLACE if key in said}, origins)
    for name, value in said.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "autostop_minutes":
            setting = {"idle_minutes": value, "down": True} if value else False
            _set_resource(values, "autostop", setting, "--autostop", origins)
        elif name in _RESOURCES:
            _set_resource(values, _RESOURCES[name], value, flag, origins)
        else:
            values[name] = value
            origins.flags[(name,)] = flag


def _merge_variables(values: dict[str, Any], overrides: Overrides, origins: Origins) -> None:
    """What the file keeps secret stays secret, whichever flag gives it; ``--secret`` hides the rest."""
    hidden = values.get("secrets")
    in_secrets = set(hidden) if isinstance(hidden, Mapping) else set()
    as_secret = {name: value for name, value in overrides.envs.items() if name in in_secrets}
    _merge_map(
        values, "envs", {k: v for k, v in overrides.envs.items() if k not in as_secret}, "--env", origins
    )
    _merge_map(values, "secrets", as_secret, "--env", origins)
    _merge_map(values, "secrets", overrides.secrets, "--secret", origins)
    envs = values.get("envs")
    if isinstance(envs, Mapping):
        values["envs"] = {name: value for name, value in envs.items() if name not in overrides.secrets}


def _merge_map(
    values: dict[str, Any], key: str, said: Mapping[str, Any], flag: str, origins: Origins
) -> None:
    there = values.get(key, {})
    if said and isinstance(there, Mapping):  # another shape is refused on its own
        values[key] = {**there, **said}
        origins.flags.update({(key, name): flag for name in said})


def _replace_place(values: dict[str, Any], place: Mapping[str, Any], origins: Origins) -> None:
    """A place given by flags rules for every alternative; a region alone keeps the file's provider."""
    if not place:
        return
    kept = None if "infra" in place or "cloud" in place else _named_provider(values)
    for _, holder in _holders(values):
        for key in _PLACE:
            holder.pop(key, None)
    if kept is not None:
        path, values["cloud"] = kept
        if path in origins.marks:
            origins.marks = {**origins.marks, ("cloud",): origins.marks[path]}
    for key, value in place.items():
        values[key] = value
        origins.flags[(key,)] = f"--{key}"


def _named_provider(values: dict[str, Any]) -> tuple[KeyPath, Any] | None:
    """The provider that the file names, and where."""
    for path, holder in _holders(values):
        if "cloud" in holder:
            return (*path, "cloud"), holder["cloud"]
        infra = holder.get("infra")
        if isinstance(infra, str) and not infra.startswith("*"):
            return (*path, "infra"), infra.split("/")[0]
    return None


def _set_resource(values: dict[str, Any], key: str, value: Any, flag: str, origins: Origins) -> None:
    """Set a resource for every alternative at once."""
    resources = values.setdefault("resources", {})
    if not isinstance(resources, dict):
        return  # refused on its own
    for _, holder in _holders(values)[1:]:
        holder.pop(key, None)
    resources[key] = value
    origins.flags[("resources", key)] = flag


def _holders(values: dict[str, Any]) -> list[tuple[KeyPath, dict[str, Any]]]:
    """The maps that may name a place, and where they stand: the task, its resources, each alternative."""
    holders: list[tuple[KeyPath, dict[str, Any]]] = [((), values)]
    resources = values.get("resources")
    if isinstance(resources, dict):
        holders.append((("resources",), resources))
        for key in ("any_of", "ordered"):
            items = resources.get(key)
            if isinstance(items, list):
                holders.extend(
                    (("resources", key, index), item)
                    for index, item in enumerate(items)
                    if isinstance(item, dict)
                )
    return holders
