"""YAML read as it is written: places, traps, and what is refused before any key is looked at."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.errors import SpecError
from gpuforge.spec.document import Written, read_document

FILE = "a b.yaml"


def _read(text):
    return read_document(text, file=FILE)


def _refused(text):
    """The single mistake that a whole file is refused with."""
    with pytest.raises(SpecError) as caught:
        _read(text)
    assert len(caught.value.mistakes) == 1
    return caught.value.mistakes[0]


def _mistakes(text):
    """What a file is refused with, if it is."""
    try:
        document = _read(text)
    except SpecError as error:
        return error.mistakes
    return [document.origins.mistake(refusal) for refusal in document.refusals]


def test_every_key_and_value_has_its_place():
    """Lines and columns count from one; a snippet is what is written there."""
    marks = _read("name: x\nresources:\n  cpus: 4+\n  any_of:\n    - {gpus: L4}\n").origins.marks

    found = {path: (str(where.key), str(where.value), where.value.snippet) for path, where in marks.items()}

    assert found[("name",)] == ("a b.yaml:1:1", "a b.yaml:1:7", "x")
    assert found[("resources", "cpus")] == ("a b.yaml:3:3", "a b.yaml:3:9", "4+")
    assert found[("resources", "any_of", 0)] == ("a b.yaml:5:7", "a b.yaml:5:7", "{gpus: L4}")
    assert found[("resources", "any_of", 0, "gpus")] == ("a b.yaml:5:8", "a b.yaml:5:14", "L4")


def test_a_value_on_later_lines_is_shown_by_its_key():
    """Its first line alone would say little."""
    where = _read("resources:\n  cpus: 4\n").origins.marks[("resources",)]

    assert (str(where.value), where.value.snippet) == ("a b.yaml:1:1", "resources:")


def test_a_key_is_shown_up_to_the_end_of_its_value():
    """Not up to the end of the line."""
    assert _read("{a: 1, b: 2}\n").origins.marks[("a",)].key.snippet == "a: 1"


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("010", 8), ("3.10", 3.1), ("yes", True), ("off", False), ("12:30:45", 45045), ("0x1F", 31),
        ("1_000", 1000), ("+5", 5), (".5", 0.5), ("true", True), ("0b11", 3), ("1.0e+5", 100000.0),
    ],
)  # fmt: skip
def test_what_yaml_reads_differently_stays_as_written(text, reading):
    """And is marked as not exact, so that no third value arises."""
    value = _read(f"a: {text}").values["a"]

    assert value == Written(text=text, value=reading)
    assert not value.is_exact


@pytest.mark.parametrize("text", ["5", "-5", "0", "3.5", "1.0", "2026-11-25"])
def test_what_yaml_reads_as_written_is_exact(text):
    """Numbers and dates in their own form."""
    assert _read(f"a: {text}").values["a"].is_exact


@pytest.mark.parametrize("text", ["2026-99-99", "0b2", "1" * 5000])
def test_what_yaml_cannot_read_is_kept_and_not_exact(text):
    """A date of month 99 crashes other loaders."""
    value = _read(f"a: {text}").values["a"]

    assert value == text or not value.is_exact


@pytest.mark.parametrize("text", ["a: '010'", 'a: "010"', "a: !!str 010", "a: |\n  010", "a: >-\n  010"])
def test_quotes_make_a_text(text):
    """In any of YAML's ways."""
    assert _read(text).values["a"].strip() == "010"


@pytest.mark.parametrize("text", ["a:", "a: ~", "a: null", "a: Null"])
def test_nothing_is_none(text):
    """And its place is its key's."""
    document = _read(text)

    assert document.values == {"a": None}
    assert document.origins.marks[("a",)].value.column == 1


def test_an_equals_sign_is_a_text():
    """YAML 1.1 gives it a type that no loader knows."""
    assert _read("a: =").values == {"a": "="}


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30)


@given(st.dictionaries(TEXTS.filter(bool), TEXTS, min_size=1, max_size=6))
def test_texts_come_back_as_they_were_dumped(values):
    """For any text that YAML can hold."""
    text = yaml.safe_dump(values, allow_unicode=True, width=10**6)

    document = _read(text)

    assert document.values == values
    assert document.refusals == []


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(data):
    """A file is read, or refused with its place."""
    for mistake in _mistakes(data):
        assert mistake.where.startswith(f"{FILE}:")
        assert mistake.message.isprintable()


@given(st.text("ab:-[]{}&*!|>'\"%@` \n\t#,?<=~1", max_size=40))
def test_no_text_of_yaml_signs_crashes_the_reader(text):
    """Half-written files are the everyday case of an editor."""
    assert all(mistake.where and mistake.message.isprintable() for mistake in _mistakes(text))


def test_windows_files_are_read():
    """Carriage returns and a byte-order mark reach no value and move no column."""
    document = _read(b"\xef\xbb\xbfname: x\r\nrun: |\r\n  a\r\n  b\r\nenvs: {A: 'q'}\r\n")

    assert document.values == {"name": "x", "run": "a\nb\n", "envs": {"A": "q"}}
    assert str(document.origins.marks[("name",)].key) == "a b.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("", "1:1", "the file is empty"),
        ("# only words\n\n", "1:1", "the file is empty"),
        ("---\n...\n", "1:1", "the file is empty"),
        ("- a\n", "1:1", "a task file is a map of keys"),
        ("just words\n", "1:1", "a task file is a map of keys"),
        ("a: 1\n---\nb: 2\n---\nc: 3\n", "3:1", "this file holds 3 tasks (a pipeline)"),
        ("a:\n\tb: 1\n", "2:1", "a tab; YAML is indented with spaces"),
        ("a:\n  - x\n \t- y\n", "3:2", "a tab; YAML is indented with spaces"),
        ("resources:\n  accelerators: L4: 1\n", "2:19", 'a second ": " where a value stands'),
        ("a:\n  b: 1\n c: 2\n", "3:2", "does not line up"),
        ("a\nb: 1\n", "2:2", "a line above this one has no"),
        ("a: x\nb\nc: y\n", "2:1", "a key without"),
        ("a: [1, 2\n", "1:4", "not YAML"),
        ("a: 'x\n", "1:4", "while scanning a quoted scalar"),
        ("a: *gone\n", "1:4", "undefined alias"),
        ("a: &x [*x]\n", "1:4", "an alias that contains itself"),
        ("&r\na: 1\n<<: *r\n", "1:1", "an alias that contains itself"),
        ("a: \x07\n", "1:4", "character U+0007 is not allowed"),
        ("a: " + "[" * 100, "1:35", "nested too deeply"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_one_map_is_refused_with_its_line(text, where, says):
    """Each with what to do where there is something to do."""
    mistake = _refused(text)

    assert mistake.where == f"{FILE}:{where}"
    assert says in mistake.message


def test_bytes_that_are_not_utf8_are_refused_with_their_line():
    """Latin-1 is the usual one."""
    mistake = _refused("name: x\nrun: écho\n".encode("latin-1"))

    assert mistake.where == f"{FILE}:2:6"
    assert "byte 0xe9 is not UTF-8" in mistake.message


def test_utf16_is_refused():
    """Its byte-order mark is no UTF-8."""
    assert "is not UTF-8" in _refused("name: x\n".encode("utf-16")).message


def test_a_huge_file_is_refused_unread():
    """A data set in the place of a task file."""
    assert "larger than 1 MiB" in _refused(b"a" * (1024 * 1024 + 1)).message


def test_an_alias_bomb_is_refused_at_once():
    """Nine lines would be a billion values."""
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    before = time.process_time()

    mistake = _refused("\n".join(lines))

    assert "aliases multiply to more than 10,000 values" in mistake.message
    assert time.process_time() - before < 30


def test_an_empty_second_document_is_no_second_task():
    """A trailing line of dashes says nothing."""
    assert _read("---\na: x\n---\n").values == {"a": "x"}


def test_a_doubled_key_is_refused_with_both_lines_and_reading_goes_on():
    """Other loaders take the last one silently."""
    document = _read("a: x\nb: y\na: z\nc: {d: q, d: r}\n")

    refused = [document.origins.mistake(refusal) for refusal in document.refusals]
    assert [(m.where, m.message) for m in refused] == [
        (f"{FILE}:3:1", '"a" is written twice; first on line 1'),
        (f"{FILE}:4:11", '"d" is written twice; first on line 4'),
    ]
    assert document.values == {"a": "x", "b": "y", "c": {"d": "q"}}


def test_anchors_and_merges_are_read():
    """What is written in the map wins, then the first of several sources."""
    document = _read("x: &x {a: one, b: two}\ny: &y {b: three, c: four}\nz:\n  <<: [*x, *y]\n  a: own\n")

    assert document.values["z"] == {"a": "own", "b": "two", "c": "four"}
    assert str(document.origins.marks[("z", "a")].value) == f"{FILE}:5:6"
    assert str(document.origins.marks[("z", "b")].value) == f"{FILE}:1:19"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<<: 5\na: x\n", '"<<" merges a map'),
        ("1.10: x\na: x\n", "put quotes around the key"),
        ("yes: x\na: x\n", "put quotes around the key"),
        ("? [k]\n: x\na: x\n", "a key is text"),
        ("~: x\na: x\n", "a key is text"),
        ("b: !!python/object/apply:os.system [ls]\na: x\n", '"!!python/object/apply:os.system" is not read'),
        ("b: !mine x\na: x\n", 'the tag "!mine" is not read'),
        ("b: !!set {q}\na: x\n", 'the tag "!!set" is not read'),
        ("b: !!binary aGk=\na: x\n", 'the tag "!!binary" is not read'),
    ],
)
def test_odd_keys_and_tags_are_refused_and_the_rest_is_read(text, says):
    """No tag ever runs code."""
    document = _read(text)

    assert [says in refusal.message for refusal in document.refusals] == [True]
    assert document.values["a"] == "x"


def test_a_number_as_a_key_is_its_text():
    """As SkyPilot reads it."""
    assert _read("{5: x, 2026-11-25: y}").values == {"5": "x", "2026-11-25": "y"}


@pytest.mark.parametrize(
    "text",
    [
        "secrets:\n  TOKEN: hush:hush\n",
        "secrets: {TOKEN: hush}\n",
        "secrets:\n- TOKEN=hush\n",
        "secrets:\n  TOKEN: |\n    hush\n",
        "secrets:\n  # a note\n\n  TOKEN: hush\nrun: x\n",
    ],
)
def test_no_snippet_shows_a_secret(text):
    """Wherever it stands in the map."""
    marks = _read(text).origins.marks.values()

    assert not any("hush" in where.key.snippet + where.value.snippet for where in marks)


@pytest.mark.parametrize(
    "text",
    ["secrets:\n  TOKEN: 'hush\n", "secrets:\n  TOKEN: hush: hush\n", "secrets:\n  A: x\n\tTOKEN: hush\n"],
)
def test_no_snippet_of_a_broken_file_shows_a_secret(text):
    """The text alone tells where secrets stand."""
    mistake = _refused(text)

    assert "hush" not in mistake.snippet + mistake.message


def test_control_characters_of_keys_are_shown_as_escapes():
    """A file cannot colour or move the terminal."""
    document = _read('"a\\e[31m\\u202e": x\n"a\\e[31m\\u202e": y\n')

    assert all(refusal.message.isprintable() for refusal in document.refusals)
    assert len(document.refusals) == 1
