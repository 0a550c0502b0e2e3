"""Reading ``autostop``: after how many idle minutes a machine deletes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import PlainValidator, WithJsonSchema

from gpuforge.spec.fields import whole_between
from gpuforge.spec.mistakes import Refusal, Refused
from gpuforge.spec.scalars import flag_of, is_flag, written
from gpuforge.spec.values import LONGEST_DURATION
from gpuforge.spec.wording import did_you_mean, quoted

__all__ = ["Autostop"]

_MOST_MINUTES = int(LONGEST_DURATION.total_seconds() // 60)
_STOPS = (
    "without down: true this stops the machine, and its disk goes on billing; "
    "stopping is not in this version, write autostop: {idle_minutes: %s, down: true}"
)


def _autostop(value: object) -> int | None:
    if is_flag(value):
        if flag_of(value):
            raise ValueError(
                "true would mean zero idle minutes; write a number: autostop: {idle_minutes: 20, down: true}"
            )
        return None
    if isinstance(value, Mapping):
        return _autostop_map(value)
    text = written(value)
    minutes = text.removesuffix("m")
    raise ValueError(_STOPS % (minutes if minutes.isdigit() else "20"))


def _autostop_map(value: Mapping[Any, Any]) -> int:
    refusals = [_unread(str(key)) for key in value if key not in ("idle_minutes", "down")]
    minutes = 20
    try:
        minutes = _idle_minutes(value.get("idle_minutes"))
    except ValueError as error:
        refusals.append(Refusal(message=str(error), at=("idle_minutes",)))
    try:
        _check_down(value.get("down", False), minutes)
    except ValueError as error:
        refusals.append(Refusal(message=str(error), at=("down",)))
    if refusals:
        raise Refused(*refusals)
    return minutes


def _unread(key: str) -> Refusal:
    if key in ("wait_for", "hook", "hook_timeout"):
        message = (
            f"{quoted(key)} is not supported; remove it (idle means: no job, no login, GPU and CPU at rest)"
        )
    else:
        message = f"unknown key {quoted(key)}{did_you_mean(key, ('idle_minutes', 'down'))}"
    return Refusal(message=message, at=(key,), on_key=True)


def _idle_minutes(value: object) -> int:
    if value is None:
        raise ValueError("say after how many idle minutes: {idle_minutes: 20, down: true}")
    return whole_between(value, _MOST_MINUTES)


def _check_down(value: object, minutes: int) -> None:
    if not flag_of(value):
        raise ValueError(_STOPS % minutes)


Autostop: TypeAlias = Annotated[
    int | Literal["default"] | None,
    PlainValidator(_autostop),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": False},
                {
                    "type": "object",
                    "properties": {
                        "idle_minutes": {"type": "integer", "minimum": 1},
                        "down": {"const": True},
                    },
                    "required": ["idle_minutes", "down"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
