"""Capacity: what is in stock per zone, instance type and capacity type; ample unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuforge.simcloud.refusals import Code, SimError

if TYPE_CHECKING:
    import sqlite3

    from gpuforge.simcloud.profile import Profile

__all__ = ["StockOut", "add_stockout", "clear_stockouts", "is_out_of_stock", "set_stock", "stockouts"]

_KINDS = ("on_demand", "spot")


@dataclass(frozen=True, slots=True, kw_only=True)
class StockOut:
    """Nothing of this type is to be had in this zone until then (seconds since 1970)."""

    zone: str
    instance_type: str
    capacity_type: str
    until: float


def add_stockout(
    db: sqlite3.Connection,
    profile: Profile,
    subject: str,
    *,
    zone: str | None,
    capacity_type: str | None,
    until: float,
) -> list[StockOut]:
    """Nothing of ``subject``, a type or a GPU model, until then; ``None`` means every zone or kind.

    Raises:
        SimError: Nothing on sale is called so, or there is no such zone.
    """
    names = profile.types_of(subject)
    if zone is not None:
        profile.region_of(zone)
    if capacity_type is not None and capacity_type not in _KINDS:
        raise SimError(Code.INVALID, f"there is no capacity type {capacity_type}", hint=", ".join(_KINDS))
    kinds = _KINDS if capacity_type is None else (capacity_type,)
    made = [
        StockOut(zone=place, instance_type=name, capacity_type=kind, until=until)
        for place, name in sorted(profile.sold_in)
        for kind in kinds
        if name in names and zone in {None, place}
    ]
    if not made:
        raise SimError(Code.INVALID, f"{subject} is not sold in {zone}")
    db.executemany(
        "INSERT OR REPLACE INTO stockouts (zone, instance_type, capacity_type, until) VALUES (?, ?, ?, ?)",
        [(x.zone, x.instance_type, x.capacity_type, x.until) for x in made],
    )
    return made


def clear_stockouts(db: sqlite3.Connection) -> int:
    """Everything is in stock again.

    Returns:
        How many stock-outs ended.
    """
    return db.execute("DELETE FROM stockouts").rowcount


def stockouts(db: sqlite3.Connection, now: float) -> list[StockOut]:
    """Those that hold at ``now``."""
    rows = db.execute(
        "SELECT * FROM stockouts WHERE until>? ORDER BY zone, instance_type, capacity_type", (now,)
    )
    return [StockOut(**dict(row)) for row in rows]


def set_stock(db: sqlite3.Connection, zone: str, instance_type: str, total: int) -> None:
    """At most ``total`` instances of the type in the zone at once."""
    db.execute(
        "INSERT OR REPLACE INTO stock (zone, instance_type, total) VALUES (?, ?, ?)",
        (zone, instance_type, total),
    )


def is_out_of_stock(
    db: sqlite3.Connection, *, zone: str, instance_type: str, capacity_type: str, count: int, at: float
) -> bool:
    """Whether ``count`` more cannot be had at this moment: a gang is had whole or not at all."""
    out = db.execute(
        "SELECT 1 FROM stockouts WHERE zone=? AND instance_type=? AND capacity_type=? AND until>?",
        (zone, instance_type, capacity_type, at),
    ).fetchone()
    if out is not None:
        return True
    limit = db.execute(
        "SELECT total FROM stock WHERE zone=? AND instance_type=?", (zone, instance_type)
    ).fetchone()
    if limit is None:
        return False
    (taken,) = db.execute(
        "SELECT COUNT(*) FROM instances WHERE zone=? AND instance_type=?"
        " AND status IN ('RUNNING', 'STOPPING')",
        (zone, instance_type),
    ).fetchone()
    return int(taken) + count > int(limit[0])
