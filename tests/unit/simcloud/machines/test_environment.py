"""What a machine's processes see: an allow-list without credentials, and places of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gpuforge.simcloud.machines import environment
from gpuforge.testing.machines import machine_spec


def _place(folder: Path) -> environment.Place:
    return environment.Place(
        folder=folder,
        shims=folder / "shims",
        venv=folder / "venv",
        temporary=folder / "tmp",
        address="127.0.80.1",
        metadata="127.0.80.1:8775",
        marker="4711-00",
        boot_id="b",
        pip_cache=folder / "cache",
    )


def test_credentials_agents_and_python_paths_of_the_host_stay_outside(tmp_path):
    host = {
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "GOOGLE_APPLICATION_CREDENTIALS": "/x.json",
        "SSH_AUTH_SOCK": "/agent",
        "PYTHONPATH": "/p",
        "HOME": "/home/me",
        "PIP_INDEX_URL": "https://user:s3cret@index/simple",
        "HTTPS_PROXY": "http://u:s3cret@proxy:3128",
        "PIP_CLIENT_CERT": "/cert.pem",
        "PIP_TRUSTED_HOST": "index",
        "TZ": "Europe/Zurich",
    }
    seen = environment.machine_environment(machine_spec(tmp_path, public_key="k"), _place(tmp_path), host)
    assert "s3cret" not in repr(seen)
    stray = {"SSH_AUTH_SOCK", "PYTHONPATH", "GOOGLE_APPLICATION_CREDENTIALS", "PIP_CLIENT_CERT"}
    assert not stray & set(seen)
    assert seen["HOME"] == str(tmp_path / "home")
    assert seen["PIP_TRUSTED_HOST"] == "index"
    assert seen["TZ"] == "Europe/Zurich"


def test_the_machines_own_values_are_there(tmp_path):
    spec = machine_spec(tmp_path, public_key="k", user="ubuntu")
    seen = environment.machine_environment(spec, _place(tmp_path), {})
    assert seen["USER"] == seen["LOGNAME"] == "ubuntu"
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert seen["GPUFORGE_MACHINE_ID"] == "4711-00"
    assert seen["GPUFORGE_HOST"] == "127.0.80.1"
    assert seen["GCE_METADATA_HOST"] == "127.0.80.1:8775"
    assert seen["PATH"].split(":")[:2] == [str(tmp_path / "shims"), str(tmp_path / "venv" / "bin")]


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ("https://index/simple", True),
        ("https://user@index/simple", False),
        ("a https://u:p@index b", False),
        ("/opt/wheels", True),
        ("https://index/@scope/x", True),
    ],
)
def test_a_url_with_user_information_holds_a_credential(value, clean):
    assert environment.without_credentials(value) is clean


@pytest.mark.parametrize(
    ("vcpus", "gpus", "cpus", "threads"), [(4, 1, 2, 2), (96, 8, 2, 1), (1, 0, 8, 1), (8, 2, 16, 4)]
)
def test_threads_share_what_the_host_has(vcpus, gpus, cpus, threads):
    assert environment.omp_threads(vcpus, gpus, cpus) == threads


def test_a_long_folder_gets_a_short_name_for_sockets_and_loses_it_again(tmp_path, monkeypatch):
    short = Path("/tmp") / f"gft{os.getpid()}"
    short.mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(short))
    folder = tmp_path / ("long" * 20)
    link = environment.short_temporary(folder)
    try:
        assert len(str(link)) < 68
        assert environment.short_temporary(folder) == link
        (link / "file").write_text("x")
        assert (folder / "tmp" / "file").read_text() == "x"
    finally:
        environment.forget_temporary(folder)
        left = list(short.iterdir())
        short.rmdir()
    assert left == []


def test_a_foreign_folder_of_short_names_is_not_trusted(tmp_path, monkeypatch):
    base = tmp_path / "t"
    base.mkdir()
    (base / f"gpuforge-{os.getuid()}-tmp").symlink_to(tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(base))
    folder = tmp_path / ("long" * 20)
    assert environment.short_temporary(folder) == folder / "tmp"


def test_a_short_folder_keeps_its_name():
    folder = Path("/tmp") / f"gfs{os.getpid()}"
    try:
        assert environment.short_temporary(folder) == folder / "tmp"
    finally:
        (folder / "tmp").rmdir()
        folder.rmdir()


def test_a_login_shell_keeps_the_machines_path_even_with_odd_names(tmp_path):
    place = _place(tmp_path / 'it\'s; a "folder" é')
    environment.prepare_home(place)
    environment.prepare_home(place)  # again: a second boot
    done = subprocess.run(
        ["bash", "-l", "-c", 'printf %s "$PATH"'],
        env={"HOME": str(place.home), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == place.search_path
