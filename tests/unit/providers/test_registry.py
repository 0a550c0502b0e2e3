"""Providers by name: installed ones are found, broken ones reported and skipped, unknown ones guessed."""

from __future__ import annotations

import sys

import pytest

from gpuforge.errors import ProviderError, SpecError
from gpuforge.models.clock import SystemClock
from gpuforge.providers import registry
from gpuforge.state.paths import Paths


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Write a distribution with one provider plug-in to a folder on ``sys.path``."""
    site = tmp_path / "site packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def write(name, module, source):
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {module}:Provider\n")
        (site / f"{module}.py").write_text(source)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def _load(name):
    return registry.load(name, paths=Paths.from_environment(), clock=SystemClock(), environ={})


def test_the_built_in_one_is_found_like_any_other():
    assert "fake" in registry.names()
    provider = _load("fake")
    assert (provider.name, provider.simulated, provider.power) == ("fake", True, None)


def test_a_plug_in_of_another_package_is_loaded_with_what_it_needs(install):
    install(
        "mars",
        "gf_mars",
        "class Provider:\n"
        "    def __init__(self, paths, clock, environ):\n"
        "        self.given = (paths, clock, environ)\n",
    )
    assert "mars" in registry.names()
    paths, _clock, environ = _load("mars").given
    assert isinstance(paths, Paths)
    assert environ == {}


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('licence; \\'ü\\' expired')",
        "def broken(:\n",
        "import no_such_module_xyz",
        "x = 1",
    ],
)
def test_a_broken_plug_in_is_reported_by_name_and_skipped(install, source, caplog):
    install("venus", "gf_venus", source)
    names = registry.names()
    assert "venus" not in names
    assert "fake" in names
    assert "venus" in caplog.text
    assert "gf_venus" in registry.broken()["venus"]
    with pytest.raises(ProviderError, match="venus") as caught:
        _load("venus")
    assert "reinstall or remove gf_venus" in caught.value.resolution
    assert caught.value.__cause__ is not None


def test_what_is_installed_and_whole_is_not_called_broken():
    assert registry.broken() == {}


def test_an_unknown_name_gets_the_one_that_was_meant():
    with pytest.raises(SpecError, match="'fakee'") as caught:
        _load("fakee")
    assert "did you mean fake?" in caught.value.details
    assert "infra: fake" in caught.value.resolution


@pytest.mark.parametrize("name", ["", "zürich;\n'rm'", "x" * 300])
def test_a_hostile_name_gets_the_list(name):
    with pytest.raises(SpecError) as caught:
        _load(name)
    assert "installed: fake" in caught.value.details


def test_importing_the_registry_imports_no_provider():
    import subprocess  # noqa: PLC0415 - a fresh interpreter is the point

    code = (
        "import sys, gpuforge.providers.registry\n"
        "print([m for m in sys.modules if m.startswith(('gpuforge.providers.fake', 'gpuforge.simcloud'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
