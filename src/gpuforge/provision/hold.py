"""The right to change one cluster: its lock, and the epoch under which every row of the change is written."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuforge.provision.context import lease_body
from gpuforge.state.journal import NewRow, RowKind
from gpuforge.state.locks import cluster_lock, try_cluster_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpuforge.provision.context import Context
    from gpuforge.state.journal import Position

__all__ = ["Hold", "hold", "try_hold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A held cluster; ``uuid`` is empty for machines that belong to no cluster of this journal."""

    context: Context
    uuid: str
    epoch: int

    def row(
        self, kind: RowKind, *, attempt: int, node: str = "", body: Mapping[str, Any] | None = None
    ) -> NewRow:
        """A row of this cluster under this epoch."""
        return NewRow(
            kind=kind, cluster=self.uuid, epoch=self.epoch, node=node, attempt=attempt, body=body or {}
        )

    def write(self, *rows: NewRow | Callable[[Position], NewRow]) -> None:
        """Commit rows together.

        Raises:
            StateError: The commit failed, or another command took the cluster over: nothing may be sent.
        """
        self.context.journal.append(rows)

    def check(self) -> None:
        """Before a call that changes the cloud.

        Raises:
            StateError: Another command took the cluster over.
        """
        self.context.journal.check_epoch(self.uuid, self.epoch)


@contextlib.contextmanager
def hold(context: Context, name: str, *, uuid: str, verb: str) -> Iterator[Hold]:
    """Take the cluster's lock and begin an epoch.

    Raises:
        StateError: Another command holds it.
    """
    with cluster_lock(context.paths, name, clock=context.clock):
        yield _begin(context, name, uuid, verb)


@contextlib.contextmanager
def try_hold(context: Context, name: str, *, uuid: str, verb: str) -> Iterator[Hold | None]:
    """As :func:`hold`, but without waiting: None when another command holds it."""
    with try_cluster_lock(context.paths, name, clock=context.clock) as held:
        yield _begin(context, name, uuid, verb) if held else None


def _begin(context: Context, name: str, uuid: str, verb: str) -> Hold:
    epoch = context.journal.lease(uuid, lease_body(verb, name))
    return Hold(context=context, uuid=uuid, epoch=epoch)
