"""``envs`` and ``secrets``: passed as written, required where empty, hidden where secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.redact import Secret
from gpuforge.spec.environment import pairs_of
from gpuforge.spec.mistakes import Origins
from gpuforge.spec.prepare import canonical
from gpuforge.spec.task import Task


def test_values_are_passed_as_written(load):
    """Numbers in their own form are text; nothing is expanded."""
    task = load(
        "envs:\n  A: 5\n  B: '010'\n  C: a b;c\n  D: |\n    two\n    lines\n  E: ''\n  F: 2026-11-25\n"
    )

    assert task.envs == {"A": "5", "B": "010", "C": "a b;c", "D": "two\nlines\n", "E": "", "F": "2026-11-25"}


@pytest.mark.parametrize("key", ["envs", "env"])
def test_a_list_means_a_map(load, key):
    """As dstack has it; a bare name is required."""
    task = load(f"{key}: [A=1, 'B=x=y', C, D=]\n", environ={"C": "from outside"})

    assert task.envs == {"A": "1", "B": "x=y", "C": "from outside", "D": ""}


@pytest.mark.parametrize(
    ("value", "reading"),
    [("010", "8"), ("3.10", "3.1"), ("yes", "True"), ("12:30:45", "45045"), ("true", "True")],
)
def test_what_yaml_would_change_is_refused(refused, value, reading):
    """Never a third value."""
    assert refused(f"envs:\n  A: {value}\n") == {"2:6": f'YAML reads it as {reading}; quote it: "{value}"'}


def test_an_empty_value_is_required(refused, load):
    """From a flag, or from the caller's environment."""
    text = "envs:\n  HF_TOKEN:\n  B: null\n"

    assert refused(text) == {
        "2:3": "needs a value: --env HF_TOKEN=… or export it",
        "3:3": "needs a value: --env B=… or export it",
    }
    assert load(text, environ={"HF_TOKEN": "x"}, envs={"B": "y"}).envs == {"HF_TOKEN": "x", "B": "y"}


def test_secrets_come_from_the_environment_and_do_not_show(load):
    """In any listing of the task."""
    task = load("secrets: [TOKEN]\n", environ={"TOKEN": "hush-hush"})
    other = load("secrets: {TOKEN: hush-hush}\n")

    assert task.secrets == other.secrets == {"TOKEN": Secret("hush-hush")}
    assert "hush" not in repr(task) + str(task) + str(task.model_dump())


def test_a_missing_secret_names_its_flag(refused):
    """The variable's name is no secret."""
    assert refused("secrets: [TOKEN]\n") == {"1:11": "needs a value: --secret TOKEN=… or export it"}


@pytest.mark.parametrize(
    "text",
    [
        "secrets: {A: 0777123}\n", "secrets: {A: [hush]}\n", "secrets: hush\n", "secrets: [{A: hush}]\n",
        "secrets: {A: 0777123, A: hush}\n", "secrets: {A-B: hush}\n", "secrets: [hush:hush]\n",
    ],
)  # fmt: skip
def test_no_message_about_secrets_shows_one(refused, text):
    """Names at most."""
    messages = " ".join(refused(text).values())

    assert "0777123" not in messages
    assert "hush" not in messages.replace('"hush:hush"', "")


@pytest.mark.parametrize("name", ["1A", "A-B", "A B", '"A;rm"', "ä", "''"])
def test_names_that_no_shell_can_hold_are_refused(refused, name):
    """At the key."""
    found = refused(f"envs:\n  {name}: x\n")

    assert [("cannot be a variable's name" in message) for message in found.values()] == [True]
    assert list(found) == ["2:3"]


@pytest.mark.parametrize("name", ["GPUFORGE_NODE_RANK", "SKYPILOT_NUM_NODES"])
def test_gpuforges_own_names_are_refused(refused, name):
    """A job would read its rank from them."""
    assert "a name that gpuforge sets itself" in refused(f"envs: {{{name}: x}}\n")["1:8"]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("envs: 5\n", {"1:7": "is not a map of variables"}),
        ("envs: [5]\n", {"1:8": "write NAME=value"}),
        ("envs: [A=1, A=2]\n", {"1:13": '"A" stands here twice'}),
        ("envs: {A: {}}\n", {"1:11": "a map is not text"}),
        ("envs: {A: [1]}\n", {"1:11": "a list is not text"}),
        ('envs: {A: "x\\0y"}\n', {"1:11": "a zero byte"}),
        ("envs: {A: x}\nsecrets: {A: y}\n", {"1:8": 'stands in "envs" and in "secrets"'}),
    ],
)
def test_other_forms_are_refused_at_their_place(refused, text, places):
    """Each with what to write."""
    found = refused(text)

    assert found.keys() == places.keys()
    assert all(says in found[where] for where, says in places.items())


@pytest.mark.parametrize("value", ["~/data", "'~'", "$HOME/x", "${HOME}", "a${X}b"])
def test_what_looks_meant_to_be_expanded_is_noted(load, value):
    """It is passed as it stands all the same."""
    task = load(f"envs:\n  A: {value}\n")

    assert task.envs == {"A": value.strip("'")}
    assert len(task.warnings) == 1
    assert task.warnings[0].startswith("gpuforge.yaml:2:6: A: ")


@pytest.mark.parametrize("value", ["a~b", "5 $ each", "$5", "$(date)"])
def test_other_dollars_and_tildes_are_not_noted(load, value):
    """A price is no variable."""
    assert load(f"envs:\n  A: {value}\n").warnings == ()


def test_python_values(monkeypatch):
    """Numbers, secrets, and the process's own environment."""
    monkeypatch.setenv("FROM_OUTSIDE", "out")

    task = Task(
        envs={"A": 1, "B": 0.1, "FROM_OUTSIDE": None}, secrets={"S": Secret("made-before"), "T": "text"}
    )

    assert task.envs == {"A": "1", "B": "0.1", "FROM_OUTSIDE": "out"}
    assert task.secrets == {"S": Secret("made-before"), "T": Secret("text")}


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(NAMES, st.text(st.characters(exclude_characters="\0"), max_size=20), max_size=5))
def test_the_list_form_means_what_the_map_form_means(pairs):
    """For any text but zero bytes."""
    read, _, refusals = pairs_of([f"{name}={value}" for name, value in pairs.items()])

    assert (read, refusals) == (pairs, [])
    task, _ = canonical({"env": [f"{name}={value}" for name, value in pairs.items()]}, Origins())
    assert task["envs"] == pairs
