"""Refusals carry a code, a sentence and a hint."""

from __future__ import annotations

from gpuforge.simcloud.refusals import Code, SimError


def test_an_error_says_its_sentence_and_keeps_its_code():
    error = SimError(Code.QUOTA, "quota L4 is 8", hint="raise it")
    assert str(error) == "quota L4 is 8"
    assert (error.code, error.hint) == ("quota", "raise it")
