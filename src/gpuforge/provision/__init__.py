"""Plan, create, wait, reconcile, tear down."""

from gpuforge.provision.bootstrap import ensure_watchers, node_clients
from gpuforge.provision.checks import all_checks
from gpuforge.provision.choose import choose, describe, reuse
from gpuforge.provision.context import Context
from gpuforge.provision.create import create_cluster
from gpuforge.provision.health import ended, in_a_word
from gpuforge.provision.market import all_image_rows, all_offerings
from gpuforge.provision.plan import make_plan
from gpuforge.provision.reconcile import ClusterStatus, GcReport, collect, needs_collect, refresh
from gpuforge.provision.stockouts import Stockouts
from gpuforge.provision.teardown import delete_cluster

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
