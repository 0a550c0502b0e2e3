"""Names, tokens and ids are pure functions of what they name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.models.ids import instance_name, job_id, rank_of, request_token, slug

MOMENTS = st.integers(0, 10**10).map(lambda second: datetime.fromtimestamp(second, UTC))


def test_an_instance_name_never_changes():
    """A journal of last year must still find its machines."""
    assert instance_name("j", "c", rank=3, attempt=12) == "gf-ybzu35ubri-3-12"


@given(st.text(), st.text(), st.integers(0, 9999), st.integers(1, 9999))
def test_an_instance_name_is_legal_everywhere_and_carries_its_rank(journal, cluster, rank, attempt):
    """Compute Engine takes 63 lower-case letters, digits and dashes, a letter first."""
    name = instance_name(journal, cluster, rank=rank, attempt=attempt)

    assert re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name)
    assert rank_of(name) == rank


def test_names_of_two_journals_and_clusters_differ():
    """Two fresh journals never claim each other's machines."""
    names = {instance_name(j, c, rank=0, attempt=1) for j in ("a", "b") for c in ("a", "b")}

    assert len(names) == 4


@pytest.mark.parametrize(
    "name", ["", "vm-1", "gf-k3v9q2mx7a-0", "gf-K3V9Q2MX7A-0-1", "gf-k3v9q2mx7a-0-1-2", "gf-a\n-0-1"]
)
def test_a_foreign_name_has_no_rank(name):
    """It is refused rather than guessed."""
    with pytest.raises(ValueError, match="not a gpuforge instance name"):
        rank_of(name)


def test_a_token_is_a_function_of_name_and_exact_body():
    """The same words give the same token; one byte more, another."""
    token = request_token("gf-a-0-1", b"{}")

    assert token == request_token("gf-a-0-1", b"{}")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", token)
    assert len({token, request_token("gf-a-0-2", b"{}"), request_token("gf-a-0-1", b"{ }")}) == 3


@given(MOMENTS, MOMENTS, st.binary(min_size=7, max_size=16), st.binary(min_size=7, max_size=16))
def test_job_ids_sort_by_time(first, second, one, two):
    """Whatever the random part is."""
    earlier, later = sorted((first, second))
    if later - earlier < timedelta(milliseconds=1):
        return

    assert job_id(earlier, one) < job_id(later, two)


@given(MOMENTS, st.binary(min_size=7, max_size=7))
def test_a_job_id_is_twenty_plain_letters(moment, entropy):
    """Good for a folder's name, and without letters that look alike."""
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{20}", job_id(moment, entropy))


def test_job_ids_of_one_millisecond_differ_by_their_random_part():
    """Two launches at once are two jobs."""
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert job_id(now, b"\0" * 7) != job_id(now, b"\0" * 6 + b"\1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Train ResNet_50!", "train-resnet-50"),
        ("a--b", "a-b"),
        ("7up", "c-7up"),
        ("", "c"),
        ("☃", "c"),
        ("root@host.example", "root-host-example"),
        ("a; rm -rf /\n", "a-rm-rf"),
        ("x" * 50, "x" * 40),
    ],
)
def test_slug_examples(text, expected):
    """What names become."""
    assert slug(text) == expected


@given(st.text(), st.integers(3, 60))
def test_a_slug_is_always_a_legal_label(text, longest):
    """For any text, and making one of it again changes nothing."""
    made = slug(text, longest=longest)

    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", made)
    assert len(made) <= longest
    assert slug(made, longest=longest) == made
