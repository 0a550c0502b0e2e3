"""The types of a task's values: how each is read, and what an editor is told about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from gpuforge.models.resources import Bound
from gpuforge.spec import values
from gpuforge.spec.context import context_of
from gpuforge.spec.mistakes import Refusal, Refused
from gpuforge.spec.scalars import flag_of, is_flag, kind_of, money_of, text_of, whole_of, written
from gpuforge.spec.wording import did_you_mean, join_or, quoted

__all__ = [
    "Cpus",
    "DiskSize",
    "Duration",
    "Flag",
    "Image",
    "Infra",
    "InstanceType",
    "Labels",
    "Launcher",
    "Memory",
    "Money",
    "Name",
    "NumNodes",
    "PlaceName",
    "ProviderName",
    "Script",
    "whole_between",
]

_WORD = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_OUR_LABELS = "gf-"
_MOST_NODES = 1000  # what GCE's bulkInsert makes in one call
# a number in its own form is read as its text
_SCALAR = ["string", "number"]


def _name(value: object) -> str:
    return values.parse_name(text_of(value))


def _word(value: object) -> str:
    text = text_of(value).strip()
    if not _WORD.fullmatch(text):
        raise ValueError(f"{quoted(text)} cannot be a name here; write one word")
    return text


def _provider(value: object, info: ValidationInfo) -> str:
    return _known_provider(values.parse_provider(text_of(value)), info)


def _known_provider(name: str, info: ValidationInfo) -> str:
    known = context_of(info).known_providers
    if known is not None and name not in known:
        have = ", ".join(sorted(known)) or "none"
        raise ValueError(f"provider {quoted(name)} is not available; this installation has: {have}")
    return name


def _infra(value: object, info: ValidationInfo) -> values.Place:
    text = text_of(value)
    provider = text.strip().split("/")[0]
    if provider != "*":
        # first, for the context of a Kubernetes cluster holds more slashes than a place does
        _known_provider(values.parse_provider(provider), info)
    return values.parse_infra(text)


def whole_between(value: object, most: int) -> int:
    """A whole number from 1 to ``most``.

    Raises:
        ValueError: It is not one, or out of range.
    """
    number = whole_of(value)
    if not 1 <= number <= most:
        raise ValueError(f"{number} is out of range; write a whole number from 1 to {most}")
    return number


def _script(value: object) -> str:
    if isinstance(value, (list, tuple)):
        raise Refused.saying('commands are one text, not a list; write "|" and one command per line below it')
    return text_of(value)


def _launcher(value: object) -> str:
    text = text_of(value)
    known = ("plain", "torchrun")
    if text not in known:
        raise ValueError(
            f"{quoted(text)} is not a launcher; write {join_or(known)}{did_you_mean(text, known)}"
        )
    return text


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return values.parse_duration(values.format_duration(value))
    if is_flag(value):
        raise ValueError(
            'a machine always has a deadline; write how long it may live at most, such as "6h" or "5d"'
        )
    return values.parse_duration(written(value))


def _image(value: object) -> str:
    if isinstance(value, Mapping):
        raise Refused.saying("an image per region is not in this version; write one image's name")
    text = _word(value)
    if text.startswith("docker:"):
        raise ValueError("containers are not in this version; leave the image out and install in setup")
    if text.startswith("skypilot:"):
        raise ValueError(
            "this tag is an image built by SkyPilot; leave it out for the default deep-learning image"
        )
    return text


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Refused.saying(f"{kind_of(value)} is not a map of labels; write key: value lines")
    labels: dict[str, str] = {}
    refusals: list[Refusal] = []
    for key, item in value.items():
        on_key = True
        try:
            _check_label_key(str(key))
            on_key = item is None
            labels[str(key)] = _label_value(item)
        except ValueError as error:
            refusals.append(Refusal(message=str(error), at=(str(key),), on_key=on_key))
    if refusals:
        raise Refused(*refusals)
    return labels


def _check_label_key(key: str) -> None:
    if not _LABEL_KEY.fullmatch(key):
        raise ValueError(
            f"{quoted(key)} cannot be a label; clouds take lower-case letters, digits, dashes and "
            "underscores, beginning with a letter, 63 at most"
        )
    if key.startswith(_OUR_LABELS):
        raise ValueError(f"{quoted(key)}: labels that begin with {_OUR_LABELS} are gpuforge's own")


def _label_value(value: object) -> str:
    text = text_of(value)
    if not _LABEL_VALUE.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} cannot be a label's value; clouds take lower-case letters, digits, dashes and "
            "underscores, 63 at most"
        )
    return text


def _schema(**parts: Any) -> WithJsonSchema:
    return WithJsonSchema(parts)


_LABEL_MAP = {
    "type": "object",
    "propertyNames": {"pattern": f"^{_LABEL_KEY.pattern}$"},
    "additionalProperties": {"type": _SCALAR},
}

Name: TypeAlias = Annotated[
    str, PlainValidator(_name), _schema(type=_SCALAR, pattern=f"^{values.NAME.pattern}$")
]
PlaceName: TypeAlias = Annotated[str, PlainValidator(_word), _schema(type=_SCALAR)]
InstanceType: TypeAlias = Annotated[str, PlainValidator(_word), _schema(type=_SCALAR)]
ProviderName: TypeAlias = Annotated[str, PlainValidator(_provider), _schema(type="string", examples=["fake"])]
Infra: TypeAlias = Annotated[
    values.Place,
    PlainValidator(_infra),
    _schema(type="string", examples=["fake", "fake/sim-central1", "fake/sim-central1/sim-central1-a"]),
]
Image: TypeAlias = Annotated[str, PlainValidator(_image), _schema(type=_SCALAR)]
Script: TypeAlias = Annotated[str, PlainValidator(_script), _schema(type=_SCALAR)]
Flag: TypeAlias = Annotated[bool, PlainValidator(flag_of), _schema(type="boolean")]
Labels: TypeAlias = Annotated[dict[str, str], PlainValidator(_labels), _schema(**_LABEL_MAP)]
Launcher: TypeAlias = Annotated[
    Literal["plain", "torchrun"], PlainValidator(_launcher), _schema(enum=["plain", "torchrun"])
]
NumNodes: TypeAlias = Annotated[
    int,
    PlainValidator(lambda value: whole_between(value, _MOST_NODES)),
    _schema(type="integer", minimum=1, maximum=_MOST_NODES),
]
Money: TypeAlias = Annotated[
    Decimal, PlainValidator(money_of), _schema(type=["number", "string"], exclusiveMinimum=0)
]
Duration: TypeAlias = Annotated[
    timedelta,
    PlainValidator(_duration),
    _schema(type="string", pattern=r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$", examples=["6h", "90m", "1d12h"]),
]
Cpus: TypeAlias = Annotated[
    Bound,
    PlainValidator(lambda value: values.parse_cpus(written(value))),
    _schema(type=["integer", "string"], examples=[4, "4+", "4..8"]),
]
Memory: TypeAlias = Annotated[
    Bound,
    PlainValidator(lambda value: values.parse_memory_gib(written(value))),
    _schema(type=["number", "string"], examples=["32GB+", "32..64"]),
]
DiskSize: TypeAlias = Annotated[
    int,
    PlainValidator(lambda value: values.parse_disk_gib(written(value))),
    _schema(type=["integer", "string"], examples=[100, "256GB"]),
]
