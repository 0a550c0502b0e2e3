"""gpuforge: rent cloud GPU machines, train on them, and give them back.

::

    import gpuforge as gf

    forge = gf.Forge()
    task = gf.Task.from_yaml("gpuforge.yaml")
    print(forge.plan(task))
    with forge.up(task) as cluster:  # torn down on exit, also on error
        job = cluster.run(task)
        for line in job.logs(follow=True):
            print(line, end="")
        job.wait()

Names are loaded on first use, so importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gpuforge._version import __version__

if TYPE_CHECKING:
    from gpuforge.errors import (
        AuthError,
        BudgetError,
        CapacityError,
        CleanupError,
        CommandError,
        ConflictError,
        ConnectError,
        CredentialsError,
        DeadlineError,
        DeclinedError,
        GpuforgeError,
        HostKeyError,
        InvalidRequestError,
        JobError,
        NotFoundError,
        PermissionDeniedError,
        PolicyError,
        ProviderError,
        ProviderUnavailableError,
        ProvisionError,
        QuotaError,
        RateLimitError,
        SpecError,
        StateError,
        SyncError,
        TransportError,
        UnsupportedError,
    )
    from gpuforge.forge import Cluster, Forge, Job
    from gpuforge.models.plan import Plan
    from gpuforge.redact import Secret
    from gpuforge.spec.task import Task

__all__ = [
    "AuthError",
    "BudgetError",
    "CapacityError",
    "CleanupError",
    "Cluster",
    "CommandError",
    "ConflictError",
    "ConnectError",
    "CredentialsError",
    "DeadlineError",
    "DeclinedError",
    "Forge",
    "GpuforgeError",
    "HostKeyError",
    "InvalidRequestError",
    "Job",
    "JobError",
    "NotFoundError",
    "PermissionDeniedError",
    "Plan",
    "PolicyError",
    "ProviderError",
    "ProviderUnavailableError",
    "ProvisionError",
    "QuotaError",
    "RateLimitError",
    "Secret",
    "SpecError",
    "StateError",
    "SyncError",
    "Task",
    "TransportError",
    "UnsupportedError",
    "__version__",
]

_HOMES = {
    "Cluster": "gpuforge.forge",
    "Forge": "gpuforge.forge",
    "Job": "gpuforge.forge",
    "Plan": "gpuforge.models.plan",
    "Secret": "gpuforge.redact",
    "Task": "gpuforge.spec.task",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'gpuforge' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "gpuforge.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
