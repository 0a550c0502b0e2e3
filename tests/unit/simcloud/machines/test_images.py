"""A thin environment reaches the image's packages, keeps installs to itself and repeats console scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gpuforge.simcloud.machines import images

if TYPE_CHECKING:
    from pathlib import Path

_BODY = "import sys\nimport thing\nif __name__ == '__main__':\n    sys.exit(thing.main())\n"
_THING = "import sys\ndef main():\n    print(sys.prefix)\n"


@pytest.fixture
def interpreter(tmp_path):
    """An interpreter with one package ``thing`` and a console script for it."""
    packages = tmp_path / "host packages"
    packages.mkdir()
    (packages / "thing.py").write_text(_THING)
    (packages / "pip").mkdir()
    (packages / "pip" / "__init__.py").touch()
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "thing").write_text("#!/somewhere/bin/python3\n" + _BODY)
    (scripts / "gpuforge").write_text("#!/somewhere/bin/python3\n" + _BODY)
    (scripts / "binary").write_bytes(b"\x7fELF\xff\xfe\x00")
    (scripts / "shell").write_text("#!/bin/sh\necho\n")
    (scripts / "huge").write_text("#!/bin/python\n" + "#" * 70_000)
    return replace(images.Interpreter.current(), packages=(packages,), scripts=scripts)


def _run(*argv: object) -> str:
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"PATH": os.defpath})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["short", "a folder 'with' odd; names", "l" * 150])
def test_a_repeated_script_runs_in_the_machines_own_python(tmp_path, interpreter, name):
    image = images.ensure_image(tmp_path / "cloud", "img/1", interpreter)
    venv = tmp_path / name / "venv"
    images.make_thin(venv, image)
    assert _run(venv / "bin" / "thing") == str(venv)
    assert sorted(image.scripts) == ["thing"]


def test_packages_of_machine_image_and_interpreter_are_found_in_that_order(tmp_path, interpreter):
    image = images.ensure_image(tmp_path / "cloud", "img", interpreter)
    venv = tmp_path / "venv"
    images.make_thin(venv, image)
    own = venv / "lib" / f"python{interpreter.version}" / "site-packages"
    where = "import thing; print(thing.__file__)"
    python = venv / "bin" / "python"
    assert _run(python, "-c", where) == str(interpreter.packages[0] / "thing.py")
    (image.packages[0] / "thing.py").write_text(_THING)
    assert _run(python, "-c", where) == str(image.packages[0] / "thing.py")
    (own / "thing.py").write_text(_THING)
    assert _run(python, "-c", where) == str(own / "thing.py")


def test_an_environment_that_is_there_stays_as_it_is(tmp_path, interpreter):
    image = images.ensure_image(tmp_path / "cloud", "img", interpreter)
    venv = tmp_path / "venv"
    images.make_thin(venv, image, pip_config="[global]\n")
    (venv / "bin" / "thing").unlink()
    images.make_thin(venv, image)
    assert not (venv / "bin" / "thing").exists()
    assert (venv / "pip.conf").read_text() == "[global]\n"


def test_scripts_are_read_once_and_again_after_an_install(tmp_path, interpreter):
    cloud = tmp_path / "cloud"
    images.ensure_image(cloud, "img", interpreter)
    cache = cloud / "images" / "img" / "scripts.json"
    written = cache.stat().st_mtime_ns
    assert sorted(images.ensure_image(cloud, "img", interpreter).scripts) == ["thing"]
    assert cache.stat().st_mtime_ns == written
    new = interpreter.scripts / "torchrun"
    new.write_text("#!/bin/sh\n'''exec' /a/python \"$0\" \"$@\"\n' '''\n" + _BODY)
    os.utime(interpreter.scripts, ns=(1, 1))  # the folder changed, whatever the clock's grain
    assert sorted(images.ensure_image(cloud, "img", interpreter).scripts) == ["thing", "torchrun"]


def test_a_damaged_cache_is_made_again(tmp_path, interpreter):
    cloud = tmp_path / "cloud"
    images.ensure_image(cloud, "img", interpreter)
    (cloud / "images" / "img" / "scripts.json").write_text("{")
    assert sorted(images.ensure_image(cloud, "img", interpreter).scripts) == ["thing"]


def test_without_pip_in_the_interpreter_the_image_gets_its_own(tmp_path, interpreter):
    (interpreter.packages[0] / "pip" / "__init__.py").unlink()
    image = images.ensure_image(tmp_path / "cloud", "img", interpreter)
    venv = tmp_path / "venv"
    images.make_thin(venv, image)
    assert "pip" in image.scripts
    assert str(image.packages[0]) in _run(venv / "bin" / "python", "-m", "pip", "--version")


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("#!/x/python3\na\n", "a\n"),
        ("#!/bin/sh\n'''exec' '/x y/python' \"$0\" \"$@\"\n' '''\na\n", "a\n"),
        ("#!/bin/sh\necho\n", None),
        ("", None),
        ("just text", None),
    ],
)
def test_only_python_scripts_are_repeated(text, body):
    assert images.parse_script(text) == body


def test_editable_installs_of_the_interpreter_are_reached(tmp_path, monkeypatch):
    site_packages = tmp_path / "site"
    project = tmp_path / "project"
    project.mkdir()
    site_packages.mkdir()
    lines = f"{project}\n# a remark\nimport os; os.environ\n/nowhere\n\n"
    (site_packages / "x.pth").write_text(lines)
    (site_packages / "bad.pth").write_bytes(b"\xff\xfe")
    monkeypatch.setattr("site.getsitepackages", lambda: [str(site_packages)])
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    monkeypatch.setattr("site.getusersitepackages", lambda: str(tmp_path / "user"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(site_packages)])
    assert images.Interpreter.current().packages == (site_packages, project)


def test_pip_settings_of_the_user_pass_without_credentials(tmp_path):
    first, second = tmp_path / "1.conf", tmp_path / "2.conf"
    first.write_text(
        "[global]\nindex-url = https://u:pw@index/simple\ntrusted-host = index\nuser = yes\n"
        "find-links =\n    /a\n    /b\n"
    )
    second.write_text("[install]\nextra-index-url = https://x/%(y)s\n[list]\nformat = json\n")
    merged = images.pip_settings([first, second, tmp_path / "absent"])
    assert "pw" not in merged
    assert "user" not in merged
    assert images.pip_settings([_written(tmp_path / "again", merged)]) == merged
    assert "trusted-host = index" in merged
    assert "/b" in merged
    assert "extra-index-url = https://x/%(y)s" in merged


@pytest.mark.parametrize("text", ["", "no section\n", "[global]\n[global]\n"])
def test_damaged_or_empty_pip_settings_are_no_settings(tmp_path, text):
    assert images.pip_settings([_written(tmp_path / "pip.conf", text)]) == ""


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_shims_are_executable_and_complete(tmp_path, interpreter):
    image = images.ensure_image(tmp_path / "cloud", "img", interpreter)
    names = {"sudo", "apt-get", "apt", "nvidia-smi", "systemctl", "systemd-run"}
    names |= {"poweroff", "halt", "reboot", "shutdown"}
    assert all(os.access(image.shims / name, os.X_OK) for name in names)
    again = images.ensure_image(tmp_path / "cloud", "img", interpreter)
    assert again.shims == image.shims
