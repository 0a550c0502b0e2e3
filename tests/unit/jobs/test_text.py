"""Logs by lines, byte for byte, and which job is meant."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.errors import JobError
from gpuforge.jobs.logs import LogChunk
from gpuforge.jobs.text import find, lines

JOBS = [SimpleNamespace(job_id="06h1aaaa", alias=1), SimpleNamespace(job_id="06h1bbbb", alias=2)]


def chunk(rank, data):
    return LogChunk(rank=rank, offset=0, data=data)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_however_it_is_cut_every_byte_comes_once_and_in_order(data, cuts):
    """Odd bytes survive as surrogates; lines keep their newline."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [chunk(0, data[a:b]) for a, b in pairwise(edges)]

    told = list(lines(chunks, prefix=False))

    assert "".join(told).encode("utf-8", "surrogateescape") == data
    assert all(line.endswith("\n") for line in told[:-1])
    assert all("\n" not in line[:-1] for line in told)


def test_nodes_are_told_apart_and_their_lines_are_whole():
    """What never got its newline comes last, by rank."""
    chunks = [chunk(1, b"be"), chunk(0, b"alpha\ngam"), chunk(1, b"ta\n"), chunk(1, b"x")]

    assert list(lines(chunks, prefix=True)) == ["[0] alpha\n", "[1] beta\n", "[0] gam", "[1] x"]


@pytest.mark.parametrize(("which", "found"), [(None, 2), ("1", 1), ("06h1bbbb", 2), ("2", 2)])
def test_a_job_is_found_by_id_or_number(which, found):
    """The newest without either."""
    assert find(JOBS, which, cluster="dev").alias == found


@pytest.mark.parametrize("which", ["3", "", "06h1", "☃"])
def test_an_unknown_job_is_refused_with_those_there_are(which):
    """Exit 66."""
    with pytest.raises(JobError) as caught:
        find(JOBS, which, cluster="dev")

    assert caught.value.exit_code == 66
    assert caught.value.details == "its jobs: 1, 2"


def test_before_the_first_job_there_is_none():
    """And how to have one."""
    with pytest.raises(JobError, match="no job ran on dev yet"):
        find([], None, cluster="dev")
    with pytest.raises(JobError) as caught:
        find([], "1", cluster="dev")
    assert caught.value.details == "its jobs: none"
