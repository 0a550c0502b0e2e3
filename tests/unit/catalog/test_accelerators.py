"""GPU names: aliases and case lead to one canonical name, and a wrong name is answered with likely ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuforge.catalog.accelerators import UnknownAccelerator, all_accelerators, lookup


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A100", "A100"),
        ("a100-40gb", "A100"),
        ("A100-80GB", "A100-80GB"),
        ("a100_80gb", "A100-80GB"),
        ("nvidia-tesla-a100", "A100"),
        ("nvidia-a100-80gb", "A100-80GB"),
        ("nvidia-h100-80gb", "H100"),
        ("nvidia-h100-mega-80gb", "H100-MEGA"),
        ("nvidia-tesla-t4", "T4"),
        ("RTX PRO 6000", "RTX-PRO-6000"),
        ("RTX PRO Server 6000", "RTX-PRO-6000"),
        ("l4", "L4"),
    ],
)
def test_every_spelling_of_a_gpu_means_its_canonical_name(text, name):
    assert lookup(text).name == name


def test_a100_is_the_40_gb_card():
    assert lookup("A100").memory_gib == 40


def test_no_alias_means_two_gpus():
    spellings = [
        name.casefold().replace("-", "") for f in all_accelerators() for name in (f.name, *f.aliases)
    ]
    assert len(spellings) == len(set(spellings))


def test_every_name_and_alias_finds_its_own_row():
    for facts in all_accelerators():
        assert all(lookup(name) is facts for name in (facts.name, *facts.aliases))


def test_drivers_make_a_range():
    for facts in all_accelerators():
        assert facts.max_driver is None or facts.min_driver < facts.max_driver


@pytest.mark.parametrize(
    ("text", "likely"),
    [("H10", "H100"), ("l40", "L40S"), ("rtx6000", "RTX-PRO-6000"), ("A100-80", "A100-80GB")],
)
def test_an_unknown_name_is_answered_with_likely_ones(text, likely):
    with pytest.raises(UnknownAccelerator, match="did you mean") as caught:
        lookup(text)
    assert likely in caught.value.suggestions


@pytest.mark.parametrize("text", ["tpu-v5e", "TPU", "v5litepod-8", "v6e"])
def test_a_tpu_is_out_of_scope(text):
    with pytest.raises(UnknownAccelerator, match="out of scope"):
        lookup(text)


def test_nothing_like_any_gpu_has_no_suggestion():
    with pytest.raises(UnknownAccelerator) as caught:
        lookup("Ä; rm -rf 'x'\n")
    assert caught.value.suggestions == ()
    assert str(caught.value).startswith("no GPU is called")


def test_an_empty_name_is_unknown():
    with pytest.raises(UnknownAccelerator):
        lookup("")


@settings(deadline=None)  # a busy computer is no defect
@given(st.text(max_size=30))
def test_any_text_is_found_or_unknown(text):
    with contextlib.suppress(UnknownAccelerator):
        assert lookup(text) in all_accelerators()
