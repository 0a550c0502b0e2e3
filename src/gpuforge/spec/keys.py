"""Keys that are not read: which of them are known elsewhere, and what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuforge.spec.wording import closest, did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gpuforge.spec.mistakes import KeyPath

__all__ = ["RESOURCE_ALIASES", "TASK_ALIASES", "foreign_file", "unread_key"]

# read as their right-hand sides
TASK_ALIASES: Mapping[str, str] = {"env": "envs", "nodes": "num_nodes"}
RESOURCE_ALIASES: Mapping[str, str] = {"gpu": "accelerators", "gpus": "accelerators", "image_id": "image"}

_ELSEWHERE = "belongs to SkyPilot's server; no counterpart here"
_REMOVE = "not supported; remove it (the plan shows what is used instead)"
_LATER = "not in this version; remove it"
_CONTAINER = "containers are not in this version; setup installs what the job needs"

_TASK: Mapping[str, str] = {
    **dict.fromkeys(
        ("pool", "inputs", "event_callback", "config", "managed_secrets", "api_server_access"), _ELSEWHERE
    ),
    **dict.fromkeys(("volume_mounts", "experimental", "update_policy"), _REMOVE),
    **dict.fromkeys(("service", "volumes", "retry", "budget", "expose"), _LATER),
    "ports": "not in this version; forward a port with ssh -L over the cluster's ssh_config",
    "working_dir": "means a local folder in Ray and one in the container in dstack; write workdir: .",
    "commands": 'dstack\'s word; write the lines under "run: |"',
    "script": 'not read; write the lines under "run: |"',
    "image": 'belongs under "resources"',
    "docker": _CONTAINER,
    "container": _CONTAINER,
    "job_recovery": _LATER,
    "spot": 'not in this version; write "use_spot: true" under "resources"',
    "tags": 'dstack\'s word; write "labels"',
}
_RESOURCES: Mapping[str, str] = {
    **dict.fromkeys(
        ("network_tier", "local_disk", "priority", "priority_class", "volumes", "hooks"), _REMOVE
    ),
    **dict.fromkeys(("disk_tier", "ephemeral_storage"), _REMOVE),
    **dict.fromkeys(("job_recovery", "spot_policy", "retry"), _LATER),
    "ports": "not in this version; forward a port with ssh -L over the cluster's ssh_config",
    "accelerator_args": "TPUs are out of scope",
    "spot": 'not in this version; write "use_spot: true"',
    "disk": 'dstack\'s word; write "disk_size"',
    "cpu": 'dstack\'s word; write "cpus"',
    "docker": _CONTAINER,
}

_DSTACK_KINDS = frozenset({"task", "service", "dev-environment", "fleet", "volume", "gateway"})
_DSTACK_WORDS = (
    "commands → run, nodes → num_nodes, resources.gpu → resources.accelerators, "
    "spot_policy → resources.use_spot, idle_duration → resources.autostop, "
    "max_price → resources.max_hourly_cost"
)


def unread_key(path: KeyPath, allowed: Collection[str], elsewhere: Mapping[str, Collection[str]]) -> str:
    """Why the key at the end of ``path`` is refused, and what to do.

    Args:
        path: Where the key stands.
        allowed: Keys that are read there.
        elsewhere: Keys read in another place, by the words that say where.
    """
    key = str(path[-1])
    table = _TASK if len(path) == 1 else _RESOURCES
    if key in table:
        return f"{quoted(key)}: {table[key]}"
    if key.startswith("_"):
        return f"{quoted(key)}: {_ELSEWHERE}"
    for place, keys in elsewhere.items():
        if key in keys:
            return f"{quoted(key)} belongs {place}"
    hint = did_you_mean(key, allowed)
    if hint:
        return f"unknown key {quoted(key)}{hint}"
    for place, keys in elsewhere.items():
        near = closest(key, keys)
        if near is not None:
            return f"unknown key {quoted(key)}; did you mean {quoted(near)}, {place}?"
    return f"unknown key {quoted(key)}; gpuforge.schema.json lists those there are"


def foreign_file(values: Mapping[str, object]) -> str | None:
    """A sentence for a file that another tool reads, or ``None`` when it may be ours."""
    kind = values.get("type")
    if isinstance(kind, str) and kind in _DSTACK_KINDS:
        return f"this is a dstack file (type: {kind}); in gpuforge's words: {_DSTACK_WORDS}"
    return None
