"""poweroff, halt, reboot, shutdown, systemctl and systemd-run of a simulated machine.

They reach the machine's own metadata service, and units are plain processes of the machine: the host's init
system is never asked. Standard library only; any Python from 3.8 on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["delay_seconds", "main", "parse_run", "plan_power"]

_POWER = {
    "poweroff": "poweroff",
    "halt": "poweroff",
    "reboot": "reboot",
    "kexec": "reboot",
    "soft-reboot": "reboot",
}
_HARMLESS = {
    "daemon-reload",
    "daemon-reexec",
    "reset-failed",
    "enable",
    "disable",
    "mask",
    "unmask",
    "set-property",
}
_WITH_VALUE = {"-p", "-M", "-H", "-t", "--property", "--unit", "--uid", "--gid", "--slice", "--description"}
_WITH_VALUE |= {
    "--setenv",
    "-E",
    "--working-directory",
    "--nice",
    "-u",
    "--service-type",
    "--machine",
    "--host",
}
_SECOND = 60.0


class UsageError(Exception):
    """Something asked for that a simulated machine does not have."""


def delay_seconds(word: str) -> float:
    """``now``, ``+5`` (minutes) or ``5``; a time of day counts as now."""
    digits = word.lstrip("+")
    return float(digits) * _SECOND if digits.isdigit() else 0.0


def plan_power(name: str, words: list[str]) -> tuple[str, float]:
    """What ``shutdown`` and its like ask for: the action and the seconds until then."""
    flags = {word for word in words if word.startswith("-")}
    rest = [word for word in words if not word.startswith("-")]
    if name != "shutdown":
        return _POWER[name], 0.0
    if flags & {"-c", "--cancel"}:
        return "cancel", 0.0
    action = "reboot" if flags & {"-r", "--reboot"} else "poweroff"
    # without a time it is one minute, as on a real machine
    return action, delay_seconds(rest[0]) if rest else _SECOND


def parse_run(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """``systemd-run``'s options and the command."""
    options: dict[str, str] = {}
    index = 0
    while index < len(words) and words[index].startswith("-"):
        word = words[index]
        index += 1
        if word == "--":
            break
        key, has_value, value = word.partition("=")
        if not has_value and key in _WITH_VALUE and index < len(words):
            value = words[index]
            index += 1
        if key in ("--setenv", "-E"):
            name, _, text = value.partition("=")
            options["env:" + name] = text if "=" in value else os.environ.get(name, "")
        else:
            options["--unit" if key == "-u" else key] = value
    return options, words[index:]


def _ask(action: str, after: float) -> None:
    address = os.environ.get("GCE_METADATA_HOST", "")
    if not address:
        raise UsageError("this is no simulated machine (GCE_METADATA_HOST is not set); nothing was done")
    connection = http.client.HTTPConnection(address, timeout=10)
    body = json.dumps({"action": action, "after_seconds": after})
    connection.request("POST", "/gpuforge/power", body, {"Metadata-Flavor": "Google"})
    answer = connection.getresponse()
    if answer.status != 202:
        raise UsageError("the simulated machine refused: " + answer.read().decode(errors="replace").strip())


def _power(name: str, words: list[str]) -> int:
    if {"--help", "-h"} & set(words) and name != "shutdown":
        sys.stdout.write(name + ": acts on the simulated machine, never on the host\n")
        return 0
    action, after = plan_power(name, words)
    _ask(action, after)
    when = f"in {after:g} s" if after else "now"
    sys.stderr.write(f"simulated machine: {action} {when}\n")
    return 0


def _units() -> Path:
    folder = Path(os.environ.get("GPUFORGE_MACHINE_ROOT", ".")) / "units"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _unit_name(name: str) -> str:
    plain = name.replace("/", "-")
    return plain.removesuffix(".service")


def _alive(name: str) -> int:
    """The unit's pid while it runs, else 0; the start time keeps a reused pid from being taken for it."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        row = json.loads((_units() / (name + ".json")).read_text())
        if _ticks(row["pid"]) == row["ticks"]:
            return int(row["pid"])
    return 0


def _ticks(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _run(words: list[str]) -> int:
    options, command = parse_run(words)
    if not command:
        raise UsageError("Command line to execute required.")
    environ = dict(os.environ)
    environ.update({key[4:]: value for key, value in options.items() if key.startswith("env:")})
    folder = options.get("--working-directory") or os.environ.get("HOME") or "."
    if {"--scope", "--wait", "--pipe", "-P", "--pty", "-t"} & set(options):
        return subprocess.run(command, env=environ, cwd=folder, check=False).returncode
    name = _unit_name(options.get("--unit") or f"run-{os.getpid()}")
    if _alive(name):
        raise UsageError(f"Failed to start transient service unit: Unit {name}.service was already loaded.")
    with (_units() / (name + ".log")).open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = {"pid": process.pid, "ticks": _ticks(process.pid), "command": command}
    (_units() / (name + ".json")).write_text(json.dumps(record))
    sys.stderr.write(f"Running as unit: {name}.service\n")
    return 0


def _stop(name: str) -> int:
    pid = _alive(name)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
    return 0


def _systemctl(words: list[str]) -> int:
    rest = [word for word in words if not word.startswith("-")]
    if not rest:
        sys.stdout.write("simulated machine: no units but those of systemd-run\n")
        return 0
    verb, names = rest[0], [_unit_name(name) for name in rest[1:]]
    if verb in _POWER:
        return _power(verb, [])
    if verb == "is-system-running":
        sys.stdout.write("running\n")
        return 0
    if verb in _HARMLESS and not names:
        return 0
    codes = [_unit_verb(verb, name) for name in names]
    return max(codes, default=0)


def _unit_verb(verb: str, name: str) -> int:
    pid = _alive(name)
    known = (_units() / (name + ".json")).exists()
    if verb == "is-active":
        sys.stdout.write("active\n" if pid else "inactive\n")
        return 0 if pid else 3
    if verb == "status" and known:
        sys.stdout.write("{}.service: {}\n".format(name, "active (running)" if pid else "inactive (dead)"))
        return 0 if pid else 3
    if verb in ("stop", "kill") and known:
        return _stop(name)
    if verb in _HARMLESS and known:
        return 0
    said = "Unit {}.service could not be found.\n" if verb == "status" else "Unit {}.service not found.\n"
    sys.stderr.write(
        said.format(name)
        + "simulated machine: it has no system services; those of the host are not touched.\n"
    )
    return 4 if verb == "status" else 5


def main(words: list[str]) -> int:
    """Run under one of the names; returns the exit code."""
    name, rest = words[0], words[1:]
    try:
        if name == "systemctl":
            return _systemctl(rest)
        return _run(rest) if name == "systemd-run" else _power(name, rest)
    except (UsageError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
