"""Renting with consent: nothing new is rented without its plan having been agreed to."""

from __future__ import annotations

import pytest

from gpuforge.cli.rent import rent
from gpuforge.cli.tasks import read_task
from gpuforge.errors import DeclinedError
from gpuforge.forge import Forge


def test_a_cluster_that_died_unnoticed_is_asked_about_again(gpuforge, no_machines, monkeypatch):
    """The journal still believes in it, its cloud does not: the plan is shown and agreed to anew."""
    forge = Forge()
    task = read_task(forge, None, gpus="L4:1")
    monkeypatch.setattr(forge, "is_up", lambda _name: True)

    with pytest.raises(DeclinedError):
        rent(forge, task, "gone", yes=False)

    assert forge.clusters() == ()
