"""Loading task texts as the command line does, and seeing what is refused."""

from __future__ import annotations

import pytest

from gpuforge.errors import SpecError
from gpuforge.spec.load import Overrides, load_task_text


@pytest.fixture
def load(tmp_path):
    """Load a text with ``environ`` and flags, from ``tmp_path``."""

    def loading(text, *, environ=None, known=("fake",), **flags):
        overrides = Overrides(**flags) if flags else None
        return load_task_text(
            text, environ=environ or {}, cwd=tmp_path, overrides=overrides, known_providers=known
        )

    return loading


@pytest.fixture
def refused(load):
    """What a text is refused with: place to message, in the order shown."""

    def refusing(text, **arguments):
        with pytest.raises(SpecError) as caught:
            load(text, **arguments)
        return {m.where.removeprefix("gpuforge.yaml:"): m.message for m in caught.value.mistakes}

    return refusing
