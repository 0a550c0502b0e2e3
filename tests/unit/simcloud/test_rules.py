"""Ids are numeric texts of 19 digits and differ."""

from __future__ import annotations

import random

from gpuforge.simcloud.profile import load_profile
from gpuforge.simcloud.rules import Rules
from gpuforge.simcloud.settings import SimSettings


def test_ids_are_nineteen_digits_and_differ():
    rules = Rules(profile=load_profile(), settings=SimSettings(), draw=random.Random(7))  # noqa: S311 - repeatable
    ids = {rules.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(text) == 19 and text.isdigit() for text in ids)
