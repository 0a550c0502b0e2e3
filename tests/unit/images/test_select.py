"""Which image a name means: id, family, framework or default; and what is said when there is none."""

from __future__ import annotations

import contextlib
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuforge.errors import NotFoundError
from gpuforge.images.families import gce_families, parse_family
from gpuforge.images.select import ImageQuery, family_rows, image_rows, select_image
from gpuforge.models.image import Image

TODAY = date(2026, 11, 25)


def image(family, *, image_id=None, created=date(2026, 4, 1), deprecated=None):
    told = parse_family(family)
    return Image(
        provider="fake",
        id=image_id or f"{family}-v{created:%Y%m%d}",
        family=family,
        framework=told.framework,
        cuda=told.cuda,
        driver=told.driver,
        os=told.os,
        arch=told.arch,
        created=created,
        deprecated=deprecated,
    )


NEW = image("pytorch-2-10-cu130-ubuntu-2404-nvidia-595", deprecated=date(2029, 1, 1))
PYTORCH = image("pytorch-2-9-cu129-ubuntu-2404-nvidia-580", deprecated=date(2028, 8, 4))
PYTORCH_22 = image("pytorch-2-9-cu129-ubuntu-2204-nvidia-580", deprecated=date(2028, 8, 4))
OLD = image("pytorch-2-7-cu128-ubuntu-2204-nvidia-570", deprecated=date(2026, 4, 13))
COMMON = image("common-cu129-ubuntu-2404-nvidia-580")
ARM = image("ubuntu-accelerator-2404-arm64-with-nvidia-580")
PLAIN = image("ubuntu-2404-lts")
ALL = (COMMON, OLD, PYTORCH_22, PYTORCH, ARM, PLAIN)


def select(name=None, images=ALL, **query):
    return select_image(images, ImageQuery(name=name, **query), today=TODAY)


def test_the_default_is_the_newest_pytorch_image():
    assert select() is PYTORCH


def test_a_newer_framework_counts_as_a_number():
    assert select(images=(*ALL, NEW)) is NEW


def test_without_pytorch_the_default_is_the_newest_with_a_driver():
    assert select(images=(PLAIN, COMMON)) is COMMON


def test_a_machine_without_gpu_may_have_an_image_without_driver():
    assert select(images=(PLAIN,), needs_gpu=False) is PLAIN


def test_the_architecture_is_matched():
    assert select(arch="arm64") is ARM


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (PYTORCH_22.id, PYTORCH_22),
        ("pytorch-2-9-cu129-ubuntu-2204-nvidia-580", PYTORCH_22),
        ("pytorch-2.9", PYTORCH),
        ("PyTorch_2.9", PYTORCH),
        ("pytorch", PYTORCH),
        ("pytorch-2-9-cu129", PYTORCH),
        ("common-cu129", COMMON),
    ],
)
def test_a_name_is_an_id_a_family_a_framework_or_the_beginning_of_a_family(name, found):
    assert select(name) is found


def test_an_image_whose_support_has_ended_is_chosen_by_its_exact_id():
    assert select(OLD.id) is OLD


def test_a_family_whose_support_has_ended_is_answered_with_current_ones():
    with pytest.raises(NotFoundError) as caught:
        select(OLD.family)
    assert "support ended on 2026-04-13" in caught.value.details
    assert PYTORCH.family in caught.value.resolution


def test_without_a_date_nothing_has_ended():
    assert select_image(ALL, ImageQuery(name="pytorch-2.7")) is OLD


def test_a_retired_family_is_answered_with_current_ones():
    with pytest.raises(NotFoundError) as caught:
        select("tf-2-15-cu121")
    assert "retired on 2026-07-11" in caught.value.details
    assert PYTORCH.family in caught.value.resolution


def test_a_retired_family_without_a_date_is_still_said_to_be_retired():
    with pytest.raises(NotFoundError) as caught:
        select("pytorch-latest-gpu")
    assert "was retired (" in caught.value.details


def test_a_misspelt_family_is_answered_with_the_likely_one():
    with pytest.raises(NotFoundError, match="nothing here is called") as caught:
        select("comon-cu129-ubuntu-2404-nvidia-580")
    assert caught.value.resolution.startswith(f"did you mean {COMMON.family}?")


def test_the_wrong_architecture_is_the_reason():
    with pytest.raises(NotFoundError, match="is for x86_64"):
        select(PYTORCH.family, arch="arm64")


def test_a_missing_driver_is_the_reason():
    with pytest.raises(NotFoundError, match="brings no NVIDIA driver"):
        select(PLAIN.id)


def test_a_provider_without_images_points_to_the_list():
    with pytest.raises(NotFoundError, match="no default image") as caught:
        select(images=())
    assert "gpuforge images" in caught.value.resolution


@settings(deadline=None)  # a busy computer is no defect
@given(st.permutations(ALL), st.sampled_from([None, "pytorch", "pytorch-2.9", "common"]))
def test_the_order_of_the_list_does_not_matter(images, name):
    assert select(name, images=images) is select(name)


@settings(deadline=None)  # a busy computer is no defect
@given(st.text(max_size=40))
def test_any_name_is_found_or_refused(name):
    with contextlib.suppress(NotFoundError):
        assert select(name) in ALL


def test_rows_are_newest_first_and_say_what_is_current():
    rows = image_rows(ALL, today=TODAY)
    assert [row.name for row in rows[:3]] == [PYTORCH.family, PYTORCH_22.family, OLD.family]
    assert [row.status for row in rows[:3]] == ["current", "current", "retired"]


def test_rows_are_filtered_by_text():
    assert {row.id for row in image_rows(ALL, "PyTorch", today=TODAY)} == {PYTORCH.id, PYTORCH_22.id, OLD.id}
    assert image_rows(ALL, "windows", today=TODAY) == ()


def test_the_shipped_families_are_rows_too():
    rows = family_rows(gce_families(), "pytorch")
    assert rows[0].framework == "pytorch-2.9"
    assert {row.status for row in rows} == {"current", "old", "retired"}
    assert len(family_rows(gce_families())) == len(gce_families())
