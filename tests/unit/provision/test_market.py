"""What can be listed: installed providers, and tables shipped for others."""

from __future__ import annotations

import os
from datetime import date

import pytest

from gpuforge.errors import SpecError
from gpuforge.models.clock import SystemClock
from gpuforge.providers import registry
from gpuforge.provision.market import all_image_rows, all_offerings
from gpuforge.state.paths import Paths

TODAY = date(2026, 11, 25)


@pytest.fixture
def load(monkeypatch):
    """Loads a provider as the façade does; remembers which."""
    monkeypatch.setenv("GPUFORGE_FAKE_MACHINES", "none")
    names = []

    def loading(name):
        names.append(name)
        return registry.load(
            name, paths=Paths.from_environment(), clock=SystemClock(), environ=dict(os.environ)
        )

    loading.names = names
    return loading


def test_without_a_name_every_table_is_listed(load):
    """Installed ones by their adapter, in both kinds of capacity."""
    offerings = all_offerings(load, None)

    assert {"fake", "gcp"} <= {offering.provider for offering in offerings}
    fake = {str(o.capacity_type) for o in offerings if o.provider == "fake"}
    assert fake == {"on_demand", "spot"}
    assert load.names == list(registry.names())


def test_a_table_is_listed_without_its_provider(load):
    """Prices can be compared before anything is installed."""
    assert {offering.provider for offering in all_offerings(load, "gcp")} == {"gcp"}
    assert {name for name, _ in all_image_rows(load, "gcp", "", today=TODAY)} == {"gcp"}
    assert load.names == []


def test_one_provider_alone_is_asked_for(load):
    """No other row."""
    assert {offering.provider for offering in all_offerings(load, "fake")} == {"fake"}
    assert {name for name, _ in all_image_rows(load, "fake", "", today=TODAY)} == {"fake"}


def test_an_unknown_name_is_refused_by_the_registry(load):
    """With the one that was meant."""
    with pytest.raises(SpecError, match="no provider 'fke'"):
        all_offerings(load, "fke")
    with pytest.raises(SpecError):
        all_image_rows(load, "fke", "", today=TODAY)


def test_text_filters_images(load):
    """Over all providers."""
    rows = all_image_rows(load, None, "pytorch", today=TODAY)

    assert rows
    assert all("pytorch" in f"{row.name} {row.framework}" for _, row in rows)
    assert all_image_rows(load, None, "no such image", today=TODAY) == ()
