"""Pydantic's errors in gpuforge's words."""

from __future__ import annotations

import pydantic
import pytest

from gpuforge.spec.mistakes import Refusal, Refused
from gpuforge.spec.refusals import refusals_of


def _fail(_value):
    raise Refused(Refusal(message="one", at=("x", 0)), Refusal(message="two", on_key=True))


def _fail_plainly(_value):
    raise ValueError("three")


class _Inner(pydantic.BaseModel, extra="forbid"):
    a: int = 1


class _Outer(pydantic.BaseModel, extra="forbid"):
    inner: _Inner = _Inner()
    items: list[int] = []
    several: pydantic.types.Annotated[int, pydantic.PlainValidator(_fail)] = 1
    plain: pydantic.types.Annotated[int, pydantic.PlainValidator(_fail_plainly)] = 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"several": 1},
            [
                Refusal(message="one", at=("several", "x", 0)),
                Refusal(message="two", at=("several",), on_key=True),
            ],
        ),
        ({"plain": 1}, [Refusal(message="three", at=("plain",))]),
        ({"inner": 5}, [Refusal(message='"5" stands where a map of keys is expected', at=("inner",))]),
        ({"items": None}, [Refusal(message="nothing stands where a list is expected", at=("items",))]),
        (
            {"inner": {"b": 1}},
            [Refusal(message='unknown key "b"; did you mean "bb"?', at=("inner", "b"), on_key=True)],
        ),
    ],
)
def test_each_kind_of_error(values, expected):
    """With its path from the root."""
    with pytest.raises(pydantic.ValidationError) as caught:
        _Outer(**values)

    assert list(refusals_of(caught.value, lambda _path: ["bb"], {})) == expected


def test_an_error_of_another_kind_keeps_pydantics_words():
    """Nothing is swallowed."""
    with pytest.raises(pydantic.ValidationError) as caught:
        _Outer(inner={"a": "x"})

    (refusal,) = refusals_of(caught.value, lambda _path: [], {})
    assert refusal.at == ("inner", "a")
    assert "valid integer" in refusal.message
