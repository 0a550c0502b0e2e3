"""From pydantic's errors to refusals in gpuforge's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuforge.spec.keys import unread_key
from gpuforge.spec.mistakes import KeyPath, Refusal, Refused
from gpuforge.spec.scalars import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pydantic import ValidationError

__all__ = ["refusals_of"]

# pydantic's names for "the wrong shape"
_SHAPES = {
    "model_type": "a map of keys",
    "model_attributes_type": "a map of keys",
    "dict_type": "a map of keys",
    "list_type": "a list",
    "tuple_type": "a list",
}


def refusals_of(
    error: ValidationError,
    allowed: Callable[[KeyPath], Collection[str]],
    elsewhere: Mapping[str, Collection[str]],
) -> Iterator[Refusal]:
    """Each of pydantic's errors as a refusal at its key path.

    Args:
        error: What validation raised.
        allowed: The keys that are read where a path stands.
        elsewhere: Keys read in other places, by the words that say where.
    """
    for item in error.errors(include_url=False, include_input=True):
        path: KeyPath = item["loc"]
        cause = item.get("ctx", {}).get("error")
        if item["type"] == "extra_forbidden":
            yield Refusal(message=unread_key(path, allowed(path), elsewhere), at=path, on_key=True)
        elif isinstance(cause, Refused):
            for refusal in cause.refusals:
                yield Refusal(message=refusal.message, at=(*path, *refusal.at), on_key=refusal.on_key)
        else:
            yield Refusal(message=_message(item["type"], item["input"], cause, item["msg"]), at=path)


def _message(kind: str, value: Any, cause: object, text: str) -> str:
    if isinstance(cause, ValueError):
        return str(cause)
    if kind in _SHAPES:
        return f"{kind_of(value)} stands where {_SHAPES[kind]} is expected"
    return text
