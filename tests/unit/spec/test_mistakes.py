"""Refusals find their line or their flag."""

from __future__ import annotations

import pytest

from gpuforge.models.resources import Mark
from gpuforge.spec.mistakes import Marks, Origins, Refusal, Refused, dotted, spec_error


def _marks(line, column=1, snippet="x"):
    key = Mark(file="f", line=line, column=column, snippet=f"{snippet}: v")
    return Marks(key=key, value=Mark(file="f", line=line, column=column + 3, snippet="v"))


@pytest.fixture
def origins():
    """A file of two keys, and a flag over a third."""
    return Origins(
        file="f",
        marks={(): _marks(1), ("a",): _marks(2), ("a", "b"): _marks(3, 3), ("c",): _marks(4)},
        flags={("c",): "--c", ("d", "e"): "--d"},
    )


@pytest.mark.parametrize(
    ("refusal", "where", "snippet"),
    [
        (Refusal(message="m", at=("a",)), "f:2:4", "v"),
        (Refusal(message="m", at=("a",), on_key=True), "f:2:1", "x: v"),
        (Refusal(message="m", at=("a", "b", "deep", 0)), "f:3:6", "v"),
        (Refusal(message="m", at=("a", "gone"), on_key=True), "f:2:4", "v"),
        (Refusal(message="m", at=("unknown",)), "f:1:4", "v"),
        (Refusal(message="m", at=("c", "x")), "--c", ""),
        (Refusal(message="m", at=("d", "e")), "--d", ""),
        (Refusal(message="m", at=("d",)), "f:1:4", "v"),
    ],
)
def test_a_refusal_stands_at_the_nearest_place(origins, refusal, where, snippet):
    """A flag that set the value is the place to look at."""
    mistake = origins.mistake(refusal)

    assert (mistake.where, mistake.snippet, mistake.message) == (where, snippet, "m")


def test_without_a_file_the_key_path_is_the_place():
    """A task made in Python."""
    assert (
        Origins().mistake(Refusal(message="m", at=("resources", "any_of", 0))).where == "resources.any_of.0"
    )
    assert Origins().mistake(Refusal(message="m")).where == "task"
    assert dotted(("a", 1, "b")) == "a.1.b"


def test_mistakes_come_in_reading_order_each_once(origins):
    """The file from top to bottom, then flags."""
    refusals = [
        Refusal(message=m, at=at)
        for m, at in [("z", ("c",)), ("y", ("a", "b")), ("x", ("a",)), ("y", ("a", "b"))]
    ]

    error = spec_error(origins, refusals)

    assert [mistake.message for mistake in error.mistakes] == ["x", "y", "z"]
    assert error.brief == "f and the command line have 3 mistakes"


@pytest.mark.parametrize(
    ("at", "brief"),
    [(("a",), "f has 1 mistake"), (("c",), "the command line has 1 mistake")],
)
def test_the_brief_says_who_is_to_be_corrected(origins, at, brief):
    """The file or the flags."""
    assert spec_error(origins, [Refusal(message="m", at=at)]).brief == brief


def test_the_brief_of_a_task_made_in_python():
    """There is no file to name."""
    assert spec_error(Origins(), [Refusal(message="m", at=("a",))]).brief == "the task has 1 mistake"


def test_a_validator_may_refuse_several_things_at_once():
    """The text of the exception holds all of them."""
    error = Refused(Refusal(message="a"), Refusal(message="b"))

    assert str(error) == "a; b"
    assert Refused.saying("c").refusals == (Refusal(message="c"),)
