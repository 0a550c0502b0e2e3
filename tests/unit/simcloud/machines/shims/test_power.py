"""poweroff and its like ask the simulated machine and nobody else."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading

import pytest

from gpuforge.simcloud.machines.shims import power
from gpuforge.testing.machines import wait_until


@pytest.fixture
def orders(tmp_path, monkeypatch):
    """What reached the machine's metadata service."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Metadata-Flavor"], json.loads(body)))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_words):
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GPUFORGE_MACHINE_ROOT", str(tmp_path))
    yield got
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("words", "action", "after"),
    [
        (["poweroff"], "poweroff", 0),
        (["halt", "-p"], "poweroff", 0),
        (["reboot", "-f"], "reboot", 0),
        (["shutdown", "-h", "now"], "poweroff", 0),
        (["shutdown", "-r", "+2"], "reboot", 120),
        (["shutdown"], "poweroff", 60),
        (["shutdown", "-c"], "cancel", 0),
        (["systemctl", "poweroff"], "poweroff", 0),
        (["systemctl", "--force", "reboot"], "reboot", 0),
    ],
)
def test_every_way_to_say_it_reaches_the_machine(orders, words, action, after):
    assert power.main(words) == 0
    assert orders == [("/gpuforge/power", "Google", {"action": action, "after_seconds": after})]


def test_outside_a_machine_nothing_is_done(monkeypatch, capsys):
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    assert power.main(["poweroff"]) == 1
    assert "nothing was done" in capsys.readouterr().err


def test_a_machine_that_does_not_answer_is_an_error(monkeypatch, capsys):
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    assert power.main(["reboot"]) == 1
    assert "reboot:" in capsys.readouterr().err


def test_help_does_nothing(orders):
    assert power.main(["poweroff", "--help"]) == 0
    assert orders == []


@pytest.mark.parametrize(("verb", "code"), [("start", 5), ("stop", 5), ("status", 4), ("restart", 5)])
def test_a_unit_of_the_host_does_not_exist_here(orders, capsys, verb, code):
    assert power.main(["systemctl", verb, "ssh.service"]) == code
    assert "not touched" in capsys.readouterr().err
    assert orders == []


@pytest.mark.parametrize("words", [["daemon-reload"], ["is-system-running"], []])
def test_harmless_verbs_succeed(orders, words):
    assert power.main(["systemctl", *words]) == 0


def _run(*words):
    """As on a machine: a program of its own."""
    argv = [sys.executable, "-IS", power.__file__, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_a_transient_unit_runs_is_seen_and_is_stopped(orders, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["systemd-run", "--unit=web.service", "--uid", "ubuntu", "--setenv=A=b c", "-p", "Restart=no"]
    script = 'echo "$A" > out; exec sleep 300'
    started = _run(*words, "--collect", "sh", "-c", script)
    assert started.returncode == 0
    assert "Running as unit: web.service" in started.stderr
    wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text() == "b c\n")
    assert _run("systemctl", "is-active", "web").stdout == "active\n"
    assert "running" in _run("systemctl", "status", "web.service").stdout
    assert _run("systemd-run", "--unit=web", "true").returncode == 1
    assert _run("systemctl", "enable", "web").returncode == 0
    assert _run("systemctl", "stop", "web").returncode == 0
    wait_until(lambda: _run("systemctl", "is-active", "web").returncode == 3, what="the unit's end")
    assert "dead" in _run("systemctl", "status", "web").stdout
    assert _run("systemctl", "stop", "web").returncode == 0


def test_a_scope_gives_its_exit_code_back(orders):
    assert power.main(["systemd-run", "--scope", "--", "sh", "-c", "exit 7"]) == 7


def test_a_transient_unit_needs_a_command(orders, capsys):
    assert power.main(["systemd-run", "--unit", "x"]) == 1
    assert "required" in capsys.readouterr().err


def test_a_variable_without_a_value_is_taken_from_the_caller(monkeypatch):
    monkeypatch.setenv("MINE", "v")
    options, command = power.parse_run(["-E", "MINE", "-u", "n", "cmd", "-x"])
    assert options == {"env:MINE": "v", "--unit": "n"}
    assert command == ["cmd", "-x"]
