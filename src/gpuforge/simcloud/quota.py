"""Quota: how many GPUs of a model, or vCPUs of plain machines, the account may have in a region."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.simcloud.refusals import Code, SimError

if TYPE_CHECKING:
    import sqlite3

    from gpuforge.simcloud.profile import InstanceType, Profile

__all__ = ["QuotaUse", "check", "quotas", "set_quota"]

_DEFAULT_GPUS = 64
_DEFAULT_CPUS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """One limit and how much of it is used; ``metric`` is a GPU model or ``CPUS``."""

    region: str
    metric: str
    limit: int
    used: int


def check(db: sqlite3.Connection, profile: Profile, *, region: str, kind: InstanceType, count: int) -> None:
    """Refuse what would go over the limit.

    Raises:
        SimError: It would.
    """
    metric = kind.quota_metric
    limit = _limit(db, region, metric)
    used = _used(db, profile)[region, metric]
    asked = kind.quota_units * count
    if used + asked > limit:
        raise SimError(
            Code.QUOTA,
            f"quota {metric} in {region} is {limit}, {used} in use, {asked} more asked",
            hint=f"raise it: gpuforge fake quota {metric} {used + asked} --region {region}",
        )


def set_quota(db: sqlite3.Connection, profile: Profile, *, region: str, metric: str, units: int) -> None:
    """Set a limit.

    Raises:
        SimError: No such region or metric.
    """
    if region not in profile.regions():
        raise SimError(Code.INVALID, f"there is no region {region}", hint=", ".join(profile.regions()))
    known = {kind.quota_metric for kind in profile.types.values()}
    if metric not in known:
        raise SimError(Code.INVALID, f"there is no quota {metric}", hint=", ".join(sorted(known)))
    if units < 0:
        raise SimError(Code.INVALID, "a quota is not negative")
    db.execute(
        "INSERT OR REPLACE INTO quotas (region, metric, units) VALUES (?, ?, ?)", (region, metric, units)
    )


def quotas(db: sqlite3.Connection, profile: Profile) -> list[QuotaUse]:
    """Every limit with its use, by region and metric."""
    used = _used(db, profile)
    metrics = sorted({kind.quota_metric for kind in profile.types.values()})
    return [
        QuotaUse(region=region, metric=metric, limit=_limit(db, region, metric), used=used[region, metric])
        for region in profile.regions()
        for metric in metrics
    ]


def _limit(db: sqlite3.Connection, region: str, metric: str) -> int:
    row = db.execute("SELECT units FROM quotas WHERE region=? AND metric=?", (region, metric)).fetchone()
    if row is not None:
        return int(row[0])
    return _DEFAULT_CPUS if metric == "CPUS" else _DEFAULT_GPUS


def _used(db: sqlite3.Connection, profile: Profile) -> Counter[tuple[str, str]]:
    # an instance that is off holds no quota; one on its way out still does
    used: Counter[tuple[str, str]] = Counter()
    for region, name, count in db.execute(
        "SELECT region, instance_type, COUNT(*) FROM instances"
        " WHERE status IN ('PROVISIONING', 'RUNNING', 'STOPPING') GROUP BY region, instance_type"
    ):
        kind = profile.types[name]
        used[region, kind.quota_metric] += kind.quota_units * count
    return used
