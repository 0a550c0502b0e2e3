"""Judging a machine from outside: alive or not, what its supervisor may know, what a sweep may kill."""

from __future__ import annotations

import fcntl
import getpass
import os
import subprocess

import pytest

from gpuforge.errors import ConflictError, ProviderError
from gpuforge.simcloud.machines import control, processes, specfile
from gpuforge.testing.machines import machine_spec


def test_a_supervisor_learns_no_credential_of_its_caller():
    caller = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "s",
        "SSH_AUTH_SOCK": "/a",
        "GPUFORGE_HOME": "/g",
        "COVERAGE_PROCESS_CONFIG": "c",
        "PIP_INDEX_URL": "https://index",
    }
    kept = control.supervisor_environment(caller)
    assert set(kept) == {"PATH", "COVERAGE_PROCESS_CONFIG", "PIP_INDEX_URL"}


def test_what_opens_a_door_does_not_reach_a_supervisor_and_its_processes_cannot_read_it_there():
    caller = {
        "HTTPS_PROXY": "http://user:s3cret@proxy:3128",
        "PIP_EXTRA_INDEX_URL": "https://user:s3cret@index/simple",
        "PYTHONPATH": "/planted",
        "http_proxy": "http://proxy:3128",
    }
    assert control.supervisor_environment(caller) == {"http_proxy": "http://proxy:3128"}


def test_openssh_lets_in_the_account_it_runs_as():
    assert control.login_user("openssh", "ubuntu") == getpass.getuser()
    assert control.login_user("asyncssh", "ubuntu") == "ubuntu"


def test_alive_is_whoever_holds_the_lock(tmp_path):
    lock = os.open(tmp_path / "supervisor.lock", os.O_RDWR | os.O_CREAT)
    try:
        assert not control.is_alive(tmp_path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert control.is_alive(tmp_path)
    finally:
        os.close(lock)
    assert not control.is_alive(tmp_path)


def test_a_machine_whose_lock_is_held_is_not_started(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "_LOCK_PATIENCE_SECONDS", 0.05)
    spec = machine_spec(tmp_path, public_key="k")
    spec.folder.mkdir(parents=True)
    lock = os.open(spec.folder / "supervisor.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="already runs"):
            control.boot(spec, tmp_path)
    finally:
        os.close(lock)
    assert not (spec.folder / "machine.json").exists()


def test_a_supervisor_that_cannot_start_is_an_error_with_its_own_words(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    spec = machine_spec(tmp_path, public_key="k")
    with pytest.raises(ProviderError, match="did not start"):
        control.boot(spec, tmp_path)
    assert not control.is_alive(spec.folder)


def test_a_reused_pid_is_not_swept(tmp_path):
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    lock = os.open(tmp_path / "supervisor.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it looks alive
        specfile.new_marker(tmp_path, "5")
        for name in ("supervisor.json", "sshd.json"):
            specfile.write_record(tmp_path / name, pid=bystander.pid, ticks="1")
        assert control.sweep(tmp_path, "5") == 0
        assert bystander.poll() is None
    finally:
        os.close(lock)
        bystander.kill()
        bystander.wait()


def test_a_recorded_session_is_swept_only_where_it_is_an_ssh_server(tmp_path):
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        specfile.new_marker(tmp_path, "5")
        ticks = processes.start_ticks(bystander.pid)
        specfile.write_record(tmp_path / "sshd.json", pid=bystander.pid, ticks=ticks)
        assert control.sweep(tmp_path, "5") == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
