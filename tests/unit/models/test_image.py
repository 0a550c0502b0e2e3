"""Images are values."""

from __future__ import annotations

import dataclasses
from datetime import date

import pytest

from gpuforge.models.image import Image


def test_an_image_cannot_be_changed_after_it_was_resolved():
    """What the plan showed is what is created."""
    image = Image(
        provider="fake",
        id="i-1",
        family="f",
        framework="",
        cuda="",
        driver="",
        os="",
        arch="",
        created=date.min,
    )

    with pytest.raises(dataclasses.FrozenInstanceError):
        image.id = "i-2"
    assert image.deprecated is None
