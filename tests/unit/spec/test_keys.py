"""No key is ignored: it is read, or refused by name with the reason."""

from __future__ import annotations

import pytest

from gpuforge.spec import keys
from gpuforge.spec.task import Resources, Task

SERVERS = "belongs to SkyPilot's server; no counterpart here"
SUPPORT = "not supported; remove it (the plan shows what is used instead)"


@pytest.mark.parametrize(
    ("key", "says"),
    [
        *[(key, SERVERS) for key in ("pool", "inputs", "event_callback", "config", "managed_secrets")],
        *[(key, SERVERS) for key in ("api_server_access", "_metadata", "_user_specified_yaml")],
        *[
            (key, "not in this version")
            for key in ("service", "volumes", "retry", "budget", "ports", "expose")
        ],
        ("experimental", SUPPORT),
        ("volume_mounts", SUPPORT),
        ("working_dir", "a local folder in Ray and one in the container in dstack; write workdir: ."),
        ("commands", 'write the lines under "run: |"'),
        ("script", 'write the lines under "run: |"'),
        ("docker", "containers are not in this version"),
        ("tags", 'write "labels"'),
        ("accelerators", '"accelerators" belongs under "resources"'),
        ("gpus", "unknown key"),
        ("autostop", 'belongs under "resources"'),
        ("acelerators", 'did you mean "accelerators", under "resources"?'),
        ("nam", 'did you mean "name"?'),
        ("num_node", 'did you mean "num_nodes"?'),
        ("Setup", 'did you mean "setup"?'),
        ("xyzzy", 'unknown key "xyzzy"'),
    ],
)
def test_keys_of_the_task_that_are_not_read(refused, key, says):
    """At the key, once."""
    found = refused(f"run: x\n{key}: 5\n")

    assert list(found) == ["2:1"]
    assert says in found["2:1"]
    assert f'"{key}"' in found["2:1"]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        *[(key, SUPPORT) for key in ("network_tier", "local_disk", "priority", "priority_class", "volumes")],
        *[(key, SUPPORT) for key in ("hooks", "disk_tier", "ephemeral_storage")],
        *[(key, "not in this version") for key in ("job_recovery", "ports", "spot")],
        ("accelerator_args", "TPUs are out of scope"),
        ("_is_image_managed", SERVERS),
        ("disk", 'write "disk_size"'),
        ("cpu", 'write "cpus"'),
        ("run", '"run" belongs at the top of the file'),
        ("acelerators", 'did you mean "accelerators"?'),
        ("num_nods", 'did you mean "num_nodes", at the top of the file?'),
    ],
)
def test_keys_of_resources_that_are_not_read(refused, key, says):
    """The same in an alternative."""
    for text, where in [
        (f"resources:\n  {key}: 5\n", "2:3"),
        (f"resources:\n  any_of:\n    - {key}: 5\n", "3:7"),
    ]:
        found = refused(text)
        assert list(found) == [where]
        assert says in found[where]


@pytest.mark.parametrize("key", ["autostop", "labels", "any_of"])
def test_an_alternative_holds_hardware_alone(refused, key):
    """The rest stands around it."""
    found = refused(f"resources: {{any_of: [{{{key}: }}, {{{key}: x}}]}}\n")

    assert all(f'"{key}" belongs under "resources"' in message for message in found.values())


def test_tables_name_no_key_that_is_read():
    """A key that gets read later must leave the table of refusals."""
    assert not keys._TASK.keys() & (Task.model_fields.keys() | keys.TASK_ALIASES.keys())
    assert not keys._RESOURCES.keys() & (Resources.model_fields.keys() | keys.RESOURCE_ALIASES.keys())
    assert set(keys.TASK_ALIASES.values()) <= Task.model_fields.keys()
    assert set(keys.RESOURCE_ALIASES.values()) <= Resources.model_fields.keys()


@pytest.mark.parametrize("kind", ["task", "service", "dev-environment", "fleet"])
def test_a_dstack_file_gets_one_sentence(refused, kind):
    """Instead of a mistake for each of its keys."""
    found = refused(f"type: {kind}\ncommands: [x]\nnodes: 2\nresources: {{gpu: 24GB}}\n")

    assert list(found) == ["1:7"]
    assert f"this is a dstack file (type: {kind})" in found["1:7"]
    assert "commands → run" in found["1:7"]


def test_another_type_is_an_unknown_key(refused):
    """The word alone does not make a dstack file."""
    assert 'unknown key "type"' in refused("type: big\n")["1:1"]
