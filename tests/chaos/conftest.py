"""A command line of its own for each test that asks for one; whatever it started must be gone at the end."""

from __future__ import annotations

import pytest

from gpuforge.testing.commandline import command_line


@pytest.fixture
def cli(tmp_path):
    with command_line(tmp_path / "cli") as one:
        yield one
