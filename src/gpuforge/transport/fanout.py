"""The same call on many nodes at once, with a bound and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["each"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(items: Iterable[Item], function: Callable[[Item], Result], *, limit: int = 16) -> list[Result]:
    """``[function(item) for item in items]``, up to ``limit`` of them at a time.

    All calls end before this returns. When some fail, the first failure in the order of ``items`` is raised,
    with a note for each of the others.

    Args:
        items: What to call ``function`` with.
        function: Called from several threads.
        limit: Calls at one time, at least 1.
    """
    todo = list(items)
    if len(todo) <= 1:
        return [function(item) for item in todo]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - start-up cost; most clusters have one node

    with ThreadPoolExecutor(max_workers=min(limit, len(todo)), thread_name_prefix="gpuforge-each") as pool:
        futures = [pool.submit(function, item) for item in todo]
    failures = [
        (item, error)
        for item, future in zip(todo, futures, strict=True)
        if (error := future.exception()) is not None
    ]
    if failures:
        _, first = failures[0]
        for item, other in failures[1:]:
            first.add_note(f"also failed, for {item!s:.200}: {type(other).__name__}: {other}")
        raise first
    return [future.result() for future in futures]
