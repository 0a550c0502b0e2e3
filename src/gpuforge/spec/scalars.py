"""Single values as texts, whole numbers, money and flags, whether from YAML, a flag or Python."""

from __future__ import annotations

from decimal import Decimal

from gpuforge.spec.document import Written
from gpuforge.spec.mistakes import Refused
from gpuforge.spec.values import parse_money
from gpuforge.spec.wording import quoted

__all__ = ["flag_of", "is_flag", "kind_of", "money_of", "text_of", "whole_of", "written"]


def kind_of(value: object) -> str:
    """What a value is, in the words of a message."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "a list"
    if isinstance(value, Written):
        return quoted(value.text)
    return quoted(value) if isinstance(value, str) else quoted(str(value))


def text_of(value: object, *, secret: bool = False) -> str:
    """The text that was written.

    A plain scalar is its text only where YAML 1.1 reads it to the same: ``5`` is, ``010`` (8) is not.

    Args:
        value: What stands there.
        secret: Keep the value out of the message.

    Raises:
        ValueError: It is no text, or YAML reads another one.
    """
    if isinstance(value, Written):
        if value.is_exact:
            return value.text
        if secret:
            raise ValueError("YAML does not read this as it is written; put quotes around it")
        reading = f"reads it as {value.value}" if value.value is not None else "cannot read it"
        raise ValueError(f'YAML {reading}; quote it: "{value.text}"')
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a zero byte cannot be passed to a program; remove it")
        return value
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return str(value)
    shown = "this" if secret else kind_of(value)
    raise ValueError(f"{shown} is not text; write text, in quotes if in doubt")


def whole_of(value: object) -> int:
    """A whole number.

    Raises:
        ValueError: It is not written as one.
    """
    if isinstance(value, Written) and value.is_exact:
        value = value.value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Written) and type(value.value) is int:
        raise Refused.saying(f"YAML reads {value.text} as {value.value}; write plain digits, such as 2")
    raise ValueError(f"{kind_of(value)} is not a whole number; write digits without quotes, such as 2")


def money_of(value: object) -> Decimal:
    """US dollars.

    Raises:
        ValueError: It is not an amount above zero.
    """
    if isinstance(value, Written):
        return parse_money(value.text)  # 3.10 is money, although YAML reads 3.1
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return parse_money(format(Decimal(str(value)), "f"))
    if isinstance(value, str):
        return parse_money(value)
    raise ValueError(
        f"{kind_of(value)} is not an amount of money; write US dollars above 0, such as 400 or 12.50"
    )


def flag_of(value: object) -> bool:
    """``true`` or ``false``, and YAML 1.1's other words for them.

    Raises:
        ValueError: Another value.
    """
    if isinstance(value, Written):
        value = value.value if isinstance(value.value, bool) else value
    if isinstance(value, bool):
        return value
    raise ValueError(f"{kind_of(value)} is neither true nor false; write one of them, without quotes")


def is_flag(value: object) -> bool:
    """Whether a value is a boolean, however YAML writes it."""
    return isinstance(value.value if isinstance(value, Written) else value, bool)


def written(value: object) -> str:
    """The text as it stands in the file, for grammars that refuse odd numbers with their own fix.

    Raises:
        ValueError: It is no text or number.
    """
    return value.text if isinstance(value, Written) and not is_flag(value) else text_of(value)
