"""Reading ``envs`` and ``secrets``: names, values as written, and what the caller's environment fills in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from gpuforge.redact import Secret
from gpuforge.spec.context import Context, context_of
from gpuforge.spec.mistakes import Refusal, Refused
from gpuforge.spec.scalars import kind_of, text_of
from gpuforge.spec.wording import printable, quoted

__all__ = ["Envs", "Secrets", "pairs_of"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
# a job finds these in its environment by gpuforge's own hand
_OURS = ("GPUFORGE_", "SKYPILOT_")
_LOOKS_MEANT = re.compile(r"^~(?:/|$)|\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*")


def pairs_of(items: list[Any]) -> tuple[dict[str, Any], dict[str, int], list[Refusal]]:
    """The map that a list of ``NAME=value`` and bare ``NAME`` means.

    Returns:
        The map, the list index of each name, and what was refused.
    """
    pairs: dict[str, Any] = {}
    indices: dict[str, int] = {}
    refusals: list[Refusal] = []
    for index, item in enumerate(items):
        if not isinstance(item, str):
            message = "write NAME=value, or NAME to take it from your environment, in quotes if in doubt"
            refusals.append(Refusal(message=message, at=(index,)))
            continue
        name, equals, value = item.partition("=")
        if name in pairs:
            refusals.append(Refusal(message=f"{quoted(name)} stands here twice; remove one", at=(index,)))
            continue
        pairs[name] = value if equals else None
        indices[name] = index
    return pairs, indices, refusals


def _envs(value: object, info: ValidationInfo) -> dict[str, str]:
    return _read(value, context_of(info), flag="--env", secret=False)


def _secrets(value: object, info: ValidationInfo) -> dict[str, Secret]:
    return {
        name: Secret(text)
        for name, text in _read(value, context_of(info), flag="--secret", secret=True).items()
    }


def _read(value: object, context: Context, *, flag: str, secret: bool) -> dict[str, str]:
    if not isinstance(value, Mapping):
        shown = "this" if secret else kind_of(value)
        raise Refused.saying(
            f"{shown} is not a map of variables; write NAME: value lines, or a list of NAME=value"
        )
    found: dict[str, str] = {}
    refusals: list[Refusal] = []
    for key, item in value.items():
        name = str(key)
        try:
            _check_name(name)
        except ValueError as error:
            refusals.append(Refusal(message=str(error), at=(name,), on_key=True))
            continue
        try:
            found[name] = _value(name, item, context, flag=flag, secret=secret)
        except ValueError as error:
            refusals.append(Refusal(message=str(error), at=(name,), on_key=item is None))
    if refusals:
        raise Refused(*refusals)
    return found


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{quoted(name)} cannot be a variable's name; "
            "use letters, digits and underscores, not a digit first"
        )
    if name.startswith(_OURS):
        raise ValueError(f"{quoted(name)} is a name that gpuforge sets itself; choose another")


def _value(name: str, value: object, context: Context, *, flag: str, secret: bool) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    if value is None:
        if name not in context.environ:
            raise ValueError(f"needs a value: {flag} {name}=… or export it")
        return context.environ[name]
    text = text_of(value, secret=secret)
    if not secret and (meant := _LOOKS_MEANT.search(text)):
        context.note(
            f"{name}: {quoted(printable(meant[0]))} is passed as it stands, not expanded; expand it in run",
            at=("envs", name),
        )
    return text


_SCHEMA = {
    "anyOf": [
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_NAME.pattern}$"},
            "additionalProperties": {"type": ["string", "number", "null"]},
        },
        {"type": "array", "items": {"type": "string"}},
    ]
}
Envs: TypeAlias = Annotated[dict[str, str], PlainValidator(_envs), WithJsonSchema(_SCHEMA)]
Secrets: TypeAlias = Annotated[dict[str, Secret], PlainValidator(_secrets), WithJsonSchema(_SCHEMA)]
