"""Progress is silent unless asked for."""

from __future__ import annotations

from gpuforge.models.progress import Step, silent


def test_the_default_shows_nothing(capfd):
    """A library prints only when asked."""
    silent(Step(key="ssh", text="port open", current=1, total=2, unit="nodes"))

    assert capfd.readouterr() == ("", "")
