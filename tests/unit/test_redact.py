"""Secrets do not show, and what leaves the process is masked."""

from __future__ import annotations

import copy
import itertools
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.redact import Redactor, Secret, StreamRedactor, redact, register


@pytest.mark.parametrize("show", [str, repr, "{}".format, "{!r}".format, lambda s: f"{[s]}", "%s".__mod__])
def test_a_secret_shows_as_stars(show):
    """However it is put into a text."""
    shown = show(Secret("hunter2-très-long"))

    assert "hunter2" not in shown
    assert "***" in shown


def test_reveal_is_the_way_out():
    """The value itself, unchanged."""
    assert Secret("a\n'b\" ☃").reveal() == "a\n'b\" ☃"


def test_secrets_compare_by_value_and_only_with_secrets():
    """So that two runs of a task are equal, and no text ever equals a secret."""
    assert Secret("same") == Secret("same")
    assert Secret("same") != Secret("other")
    assert Secret("same") != "same"
    assert len({Secret("same"), Secret("same"), Secret("other")}) == 2


def test_a_secret_has_no_dict_to_leak():
    """``vars()`` of a slotted value fails."""
    with pytest.raises(TypeError):
        vars(Secret("x"))


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])  # noqa: S301 - our own bytes
def test_a_copied_secret_is_still_one(clone):
    """A task that holds secrets can be copied."""
    twin = clone(Secret("copied-value"))

    assert twin == Secret("copied-value")
    assert repr(twin) == "Secret(***)"


def test_making_a_secret_registers_it():
    """The process's own filter knows it from then on."""
    Secret("correct horse battery")

    assert redact("the correct horse battery staple") == "the *** staple"


def test_register_masks_without_a_secret_object():
    """Values that arrive as text, such as a token in a URL."""
    register("tok_12345")

    assert redact("url?t=tok_12345&x") == "url?t=***&x"


def test_each_line_of_a_value_is_masked():
    """Outputs are filtered line by line; a key of several lines leaks none of them."""
    redactor = Redactor()
    redactor.register("-----BEGIN-----\nabcdef\nghijkl")

    assert redactor.redact("abcdef") == "***"
    assert redactor.redact("x ghijkl y") == "x *** y"


def test_the_longest_value_goes_first():
    """Or a part would leave the rest standing."""
    redactor = Redactor()
    redactor.register("token")
    redactor.register("token-and-more")

    assert redactor.redact("token-and-more") == "***"


def test_short_values_stay():
    """Masking ``a`` would blank out the language."""
    redactor = Redactor()
    redactor.register("abc")
    redactor.register("")

    assert redactor.redact("abc abcd") == "abc abcd"


SHY = Secret("do-not-show-me")


def test_a_traceback_that_shows_a_secret_object_masks_it():
    """An error that carries one prints stars."""

    def fail(secret):
        raise ValueError(secret)

    with pytest.raises(ValueError, match=r"^\*\*\*$") as caught:
        fail(SHY)

    assert "do-not-show-me" not in "".join(traceback.format_exception(caught.value))


@given(
    st.lists(st.text(min_size=4).filter(lambda t: "*" not in t), min_size=1, max_size=5), st.text(), st.text()
)
def test_no_registered_value_survives(values, before, after):
    """Whatever stands around it."""
    redactor = Redactor()
    for value in values:
        redactor.register(value)

    masked = redactor.redact(before + "\x00".join(values) + after)

    assert not any(value in masked for value in values)


def _streamed(values, pieces):
    redactor = Redactor()
    for value in values:
        redactor.register(value)
    stream = StreamRedactor(redactor)
    return b"".join([*(stream.feed(piece) for piece in pieces), stream.end()])


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"a tok", b"en b"], b"a *** b"),
        ([b"a token", b"-and-more b"], b"a *** b"),
        ([b"a token", b"-and-less b"], b"a ***-and-less b"),
        ([b"to", b"ken"], b"***"),
        ([b"token"], b"***"),
        ([b"token-and"], b"***-and"),
        ([b"tok"], b"tok"),
        ([b"a token", b"token"], b"a ******"),
        ([b"\xff token \xfe"], b"\xff *** \xfe"),
        ([], b""),
    ],
)
def test_a_value_cut_in_pieces_is_masked(pieces, shown):
    """Also when a shorter value is its beginning."""
    assert _streamed(["token", "token-and-more"], pieces) == shown


def test_a_stream_without_values_passes_through():
    """Byte by byte, with nothing held back."""
    assert StreamRedactor(Redactor()).feed(b"any\xff\x00") == b"any\xff\x00"


def test_what_cannot_begin_a_value_is_shown_at_once():
    """A progress bar must not wait for its next step."""
    redactor = Redactor()
    redactor.register("hush-hush")
    stream = StreamRedactor(redactor)

    assert stream.feed(b"10 %\r") == b"10 %\r"
    assert stream.feed(b"20 % h") == b"20 % "


def test_repetition_is_never_held_back_for_long():
    """A value of equal signs must not stop a ruler of them."""
    redactor = Redactor()
    redactor.register("=====")
    stream = StreamRedactor(redactor)

    shown = b"".join(stream.feed(b"===") for _ in range(1000))

    assert b"=" not in shown
    assert len(shown) >= 3 * 599


ABC = st.text("ab", min_size=4, max_size=8)


@given(
    st.lists(ABC, min_size=1, max_size=3),
    st.text("abc", max_size=60),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_the_cuts_of_a_stream_do_not_matter(values, text, cuts):
    """Wherever the pieces end, the same is shown, and no value is in it."""
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[one:other] for one, other in itertools.pairwise(edges)]

    shown = _streamed(values, pieces)

    assert shown == _streamed(values, [data])
    assert not any(value.encode() in shown for value in values)
