"""The journal as JSON lines, one row each, hashes included: for a log archive or another verifier."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuforge.state.journal import Journal

__all__ = ["export_lines"]


def export_lines(journal: Journal) -> Iterator[str]:
    """Every row in order, as one line of JSON with sorted keys and a newline.

    The body is an object; its canonical text (sorted keys, no spaces, ASCII) is what was hashed.

    Raises:
        StateError: A row cannot be read; ``audit verify`` names it.
    """
    for row in journal.rows():
        yield json.dumps(asdict(row), sort_keys=True, separators=(",", ":")) + "\n"
