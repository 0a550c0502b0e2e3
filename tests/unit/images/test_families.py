"""Image families: what a name tells, and which families are current."""

from __future__ import annotations

from datetime import date

import pytest

from gpuforge.images.families import gce_families, parse_family, retired


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "pytorch-2-9-cu129-ubuntu-2404-nvidia-580",
            ("pytorch-2.9", "12.9", "580", "ubuntu-24.04", "x86_64"),
        ),
        ("common-cu128-ubuntu-2204-nvidia-570", ("", "12.8", "570", "ubuntu-22.04", "x86_64")),
        ("ubuntu-accelerator-2404-arm64-with-nvidia-580", ("", "", "580", "ubuntu-24.04", "arm64")),
        ("tf-2-15-cu121-debian-11-py310", ("tf-2.15", "12.1", "", "debian-11", "x86_64")),
        ("debian; rm -rf 'x'\n", ("", "", "", "", "x86_64")),
        ("", ("", "", "", "", "x86_64")),
    ],
)
def test_a_familys_name_tells_what_is_in_it(name, told):
    found = parse_family(name)
    assert (found.framework, found.cuda, found.driver, found.os, found.arch) == told


def test_current_families_name_a_driver_and_a_system():
    current = [family for family in gce_families() if family.status == "current"]
    assert len(current) == 7
    assert all(family.told.driver and family.told.os and family.source for family in current)


def test_the_table_knows_when_support_ends():
    ends = {family.name: family.end_of_availability for family in gce_families()}
    assert ends["pytorch-2-9-cu129-ubuntu-2404-nvidia-580"] == date(2028, 8, 4)
    assert ends["ubuntu-accelerator-2404-amd64-with-nvidia-580"] is None


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("tf-2-15-cu121", "tf-*"),
        ("TF-2.15-cu121", "tf-*"),
        ("pytorch-latest-gpu", "pytorch-latest-*"),
        ("common-cpu", "common-cpu*"),
        ("pytorch-1-13-cu113-debian-11", "*-debian-*"),
    ],
)
def test_a_retired_family_is_recognised(name, pattern):
    assert retired(name).name == pattern


def test_a_current_family_is_not_retired():
    assert retired("pytorch-2-9-cu129-ubuntu-2404-nvidia-580") is None
