"""``resources.autostop``: SkyPilot's meaning, or a refusal."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("line", "minutes"),
    [
        ("autostop: {idle_minutes: 10, down: true}", 10),
        ("autostop: {down: yes, idle_minutes: 1}", 1),
        ("autostop: false", None),
        ("autostop: off", None),
        ("autostop:", "default"),
        ("cpus: 4", "default"),
    ],
)
def test_what_is_read(load, line, minutes):
    """Minutes until a machine deletes itself, off, or the settings' default."""
    task = load(f"resources:\n  {line}\n")

    assert task.autostop_minutes == minutes
    assert task.autostop_or(20) == (20 if minutes == "default" else minutes)
    assert task.autostop_or(None) == (None if minutes == "default" else minutes)


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ("10", {"2:13": "write autostop: {idle_minutes: 10, down: true}"}),
        ('"10m"', {"2:13": "write autostop: {idle_minutes: 10, down: true}"}),
        ("1h", {"2:13": "write autostop: {idle_minutes: 20, down: true}"}),
        ("true", {"2:13": "write a number: autostop: {idle_minutes: 20"}),
        ("{idle_minutes: 10}", {"2:13": "this stops the machine"}),
        ("{idle_minutes: 10, down: false}", {"2:38": "this stops the machine"}),
        ("{idle_minutes: 10, down: 1}", {"2:38": "neither true nor false"}),
        ("{down: true}", {"2:13": "say after how many idle minutes"}),
        ("{idle_minutes: 0, down: true}", {"2:28": "from 1 to"}),
        ("{idle_minutes: 1.5, down: true}", {"2:28": "not a whole number"}),
        ("{idle_minutes: 010, down: true}", {"2:28": "YAML reads 010 as 8"}),
        (
            "{idle_minute: 5, down: true}",
            {"2:13": "how many idle minutes", "2:14": 'did you mean "idle_minutes"?'},
        ),
        ("{idle_minutes: 5, down: true, wait_for: jobs}", {"2:43": '"wait_for" is not supported'}),
        ("{idle_minutes: 5, down: true, hook: ls}", {"2:43": '"hook" is not supported'}),
        ("[10]", {"2:13": "is not text"}),
    ],
)
def test_what_is_refused_and_where(refused, value, places):
    """A number alone means stop there, and stopping is not in this version."""
    found = refused(f"resources:\n  autostop: {value}\n")

    assert found.keys() == places.keys()
    assert all(says in found[where] for where, says in places.items())
