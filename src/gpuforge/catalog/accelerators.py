"""GPU models: canonical names, aliases and the facts that planning needs; no other module knows them.

The table is ``data/accelerators.csv``. Names are matched without regard to case, spaces, ``-`` and ``_``;
``A100`` is the 40 GB card and never means ``A100-80GB``.
"""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["AcceleratorFacts", "UnknownAccelerator", "all_accelerators", "lookup"]

_TABLE = Path(__file__).parent / "data" / "accelerators.csv"
_TPU = re.compile(r"^(?:google)?(?:cloud)?tpu|^v[2-7](?:e|p|lite\w*)?$|^v[2-7][ep]\d*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorFacts:
    """One GPU model.

    Attributes:
        name: Canonical, such as ``A100-80GB``.
        memory_gib: Per GPU.
        compute_capability: NVIDIA's, such as ``9.0``.
        min_driver: First driver branch that knows it.
        max_driver: Last driver branch whose images run it, or ``None`` while it is supported.
        aliases: Other spellings that are accepted, the clouds' own included.
    """

    name: str
    memory_gib: int
    compute_capability: str
    min_driver: int
    max_driver: int | None
    aliases: tuple[str, ...]


class UnknownAccelerator(LookupError):  # noqa: N818 - a lookup that found nothing; the planner words the error
    """No such GPU.

    Attributes:
        text: The name as it was asked for.
        suggestions: Canonical names that look like it, best first; may be empty.
        hint: A sentence for things that are known and not offered (TPUs); may be empty.
    """

    def __init__(self, text: str, *, suggestions: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.suggestions = suggestions
        self.hint = hint

    def __str__(self) -> str:
        if self.hint:
            return f"{self.text}: {self.hint}"
        if self.suggestions:
            return f"no GPU is called {self.text}; did you mean {' or '.join(self.suggestions)}?"
        return f"no GPU is called {self.text}"


def lookup(text: str) -> AcceleratorFacts:
    """The GPU that a name or alias means.

    >>> lookup("a100-40gb").name, lookup("nvidia-l4").name
    ('A100', 'L4')

    Raises:
        UnknownAccelerator: No such GPU; carries what looks like it.
    """
    key = _key(text)
    found = _by_key().get(key)
    if found is not None:
        return found
    if _TPU.match(key):
        raise UnknownAccelerator(text, hint="TPUs are out of scope; gpuforge rents NVIDIA GPUs")
    raise UnknownAccelerator(text, suggestions=_similar(key))


@lru_cache(maxsize=1)
def all_accelerators() -> tuple[AcceleratorFacts, ...]:
    """Every GPU known, in the table's order (newest first)."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        records = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(
            AcceleratorFacts(
                name=record["name"],
                memory_gib=int(record["memory_gib"]),
                compute_capability=record["compute_capability"],
                min_driver=int(record["min_driver"]),
                max_driver=int(record["max_driver"]) if record["max_driver"] else None,
                aliases=tuple(record["aliases"].split(";")) if record["aliases"] else (),
            )
            for record in records
        )


@lru_cache(maxsize=1)
def _by_key() -> dict[str, AcceleratorFacts]:
    return {_key(name): facts for facts in all_accelerators() for name in (facts.name, *facts.aliases)}


def _similar(key: str) -> tuple[str, ...]:
    known = _by_key()
    near = difflib.get_close_matches(key, known, n=6, cutoff=0.5)
    begin = [name for name in known if key and (name.startswith(key) or key.startswith(name))]
    names = [known[name].name for name in (*begin, *near)]
    return tuple(dict.fromkeys(names))[:3]


def _key(text: str) -> str:
    key = re.sub(r"[\s_-]+", "", text.casefold())
    return key.removeprefix("nvidia").removeprefix("tesla")
