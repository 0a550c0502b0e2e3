"""Reading ``accelerators``: one GPU, a list in order of preference, or a map of which any will do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import PlainValidator, WithJsonSchema

from gpuforge.models.resources import Accelerator
from gpuforge.spec.mistakes import Refusal, Refused
from gpuforge.spec.scalars import kind_of, whole_of, written
from gpuforge.spec.values import parse_accelerator
from gpuforge.spec.wording import quoted

__all__ = ["GpuChoice", "Gpus"]

_Entries: TypeAlias = list[tuple[str | int, Callable[[], Accelerator]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuChoice:
    """GPUs of which one kind will do.

    Attributes:
        alternatives: Names as written; the catalogue makes them canonical.
        ordered: They came as a list, most wanted first; else the cheapest wins.
    """

    alternatives: tuple[Accelerator, ...]
    ordered: bool = False


def _choice(value: object) -> GpuChoice:
    if isinstance(value, GpuChoice):
        return value
    if isinstance(value, Mapping):
        return GpuChoice(alternatives=_several([(str(key), _entry(str(key), n)) for key, n in value.items()]))
    if isinstance(value, (list, tuple)):
        alternatives = _several([(index, _item(item)) for index, item in enumerate(value)])
        return GpuChoice(alternatives=alternatives, ordered=True)
    return GpuChoice(alternatives=(_item(value)(),))


def _item(value: object) -> Callable[[], Accelerator]:
    def read() -> Accelerator:
        if isinstance(value, Accelerator):
            return value
        if value is None or isinstance(value, (Mapping, list, tuple)):
            raise ValueError(f"{kind_of(value)} is not a GPU; write NAME or NAME:COUNT, such as L4 or A100:8")
        return parse_accelerator(written(value))

    return read


def _entry(key: str, count: object) -> Callable[[], Accelerator]:
    """One entry of a map: ``H100: 8``, or ``H100:8`` with nothing after it, as flow maps have it."""

    def read() -> Accelerator:
        named = parse_accelerator(key)
        if count is None:
            return named
        if ":" in key:
            raise ValueError(f"{quoted(key)} has two counts; write {named.name}: {named.count}")
        return parse_accelerator(f"{key}:{whole_of(count)}")

    return read


def _several(entries: _Entries) -> tuple[Accelerator, ...]:
    found: dict[str, Accelerator] = {}
    refusals: list[Refusal] = []
    for key, read in entries:
        try:
            accelerator = read()
        except ValueError as error:
            refusals.append(Refusal(message=str(error), at=(key,)))
            continue
        if str(accelerator).casefold() in found:
            refusals.append(Refusal(message=f"{accelerator} stands here twice; remove one", at=(key,)))
        found[str(accelerator).casefold()] = accelerator
    if refusals:
        raise Refused(*refusals)
    if not found:
        raise ValueError("no GPU is named here; write one, or remove the key for a machine without")
    return tuple(found.values())


_TEXT = {"type": "string", "examples": ["L4", "A100:8", "A100-80GB:4"]}

Gpus: TypeAlias = Annotated[
    GpuChoice,
    PlainValidator(_choice),
    WithJsonSchema(
        {
            "anyOf": [
                _TEXT,
                {"type": "array", "items": _TEXT, "minItems": 1},
                {"type": "object", "minProperties": 1, "additionalProperties": {"type": ["integer", "null"]}},
            ]
        }
    ),
]
