"""Plan, create, wait, reconcile, tear down.

The names below are loaded on first use: a command on a live cluster plans nothing and creates nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuforge.provision.bootstrap import ensure_watchers, node_clients
    from gpuforge.provision.checks import all_checks
    from gpuforge.provision.clusters import choose, describe, reuse
    from gpuforge.provision.context import Context
    from gpuforge.provision.create import create_cluster
    from gpuforge.provision.health import ended, in_a_word
    from gpuforge.provision.market import all_image_rows, all_offerings
    from gpuforge.provision.plan import make_plan
    from gpuforge.provision.reconcile import ClusterStatus, GcReport, collect, needs_collect, refresh
    from gpuforge.provision.stockouts import Stockouts
    from gpuforge.provision.teardown import delete_cluster

_HOMES = {
    "bootstrap": ("ensure_watchers", "node_clients"),
    "checks": ("all_checks",),
    "clusters": ("choose", "describe", "reuse"),
    "context": ("Context",),
    "create": ("create_cluster",),
    "health": ("ended", "in_a_word"),
    "market": ("all_image_rows", "all_offerings"),
    "plan": ("make_plan",),
    "reconcile": ("ClusterStatus", "GcReport", "collect", "needs_collect", "refresh"),
    "stockouts": ("Stockouts",),
    "teardown": ("delete_cluster",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ClusterStatus",
    "Context",
    "GcReport",
    "Stockouts",
    "all_checks",
    "all_image_rows",
    "all_offerings",
    "choose",
    "collect",
    "create_cluster",
    "delete_cluster",
    "describe",
    "ended",
    "ensure_watchers",
    "in_a_word",
    "make_plan",
    "needs_collect",
    "node_clients",
    "refresh",
    "reuse",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # by the full path: a function here may bear its module's name
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
