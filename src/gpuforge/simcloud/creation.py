"""Creating gangs: accepted at once under a token, finished by the operation after its latency."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from gpuforge.simcloud import operations
from gpuforge.simcloud.addresses import allocate
from gpuforge.simcloud.body import CreateBody
from gpuforge.simcloud.capacity import is_out_of_stock
from gpuforge.simcloud.operations import OperationKind
from gpuforge.simcloud.quota import check as check_quota
from gpuforge.simcloud.refusals import Code, SimError

if TYPE_CHECKING:
    import sqlite3

    from gpuforge.simcloud.operations import Operation
    from gpuforge.simcloud.rules import Rules

__all__ = ["accept_create", "finish_create"]


def accept_create(db: sqlite3.Connection, rules: Rules, *, token: str, body: bytes, at: float) -> str:
    """Take a create; a token that was seen answers with the operation it began, dead or alive.

    Returns:
        The operation's name.

    Raises:
        SimError: Refused; nothing was created and the token was not spent.
    """
    digest = hashlib.sha256(body).hexdigest()
    known = operations.by_token(db, token)
    if known is not None:
        if known.digest != digest:
            raise SimError(Code.CONFLICT, f"token {token} was used before with another body")
        return known.name
    request = CreateBody.from_bytes(body)
    _check(db, rules, request, at)
    ids = [rules.new_id() for _ in request.names]
    name = operations.insert(
        db,
        OperationKind.CREATE,
        zone=request.zone,
        targets=ids,
        at=at,
        due=at + rules.settings.latency.create_seconds,
        token=token,
        digest=digest,
    )
    _insert_instances(db, rules, request, ids=ids, operation=name, at=at)
    return name


def _check(db: sqlite3.Connection, rules: Rules, request: CreateBody, at: float) -> None:
    if request.deadline.timestamp() <= at:
        raise SimError(Code.INVALID, f"the deadline {request.deadline.isoformat()} has passed")
    region = rules.profile.region_of(request.zone)
    kind = rules.profile.instance_type(request.instance_type, request.zone)
    restriction = rules.profile.restrictions.get((request.zone, kind.name, request.capacity_type))
    if restriction:
        raise SimError(Code.INVALID, f"{kind.name} in {request.zone}: {restriction}")
    image = rules.profile.image(request.image)
    if request.disk_gib < image.min_disk_gib:
        raise SimError(
            Code.INVALID,
            f"image {image.id} does not fit on a disk of {request.disk_gib} GiB",
            hint=f"it needs {image.min_disk_gib} GiB",
        )
    _check_names(db, request)
    check_quota(db, rules.profile, region=region, kind=kind, count=len(request.names))


def _check_names(db: sqlite3.Connection, request: CreateBody) -> None:
    for name in request.names:
        row = db.execute(
            "SELECT id FROM instances WHERE zone=? AND name=? AND status!='DELETED'", (request.zone, name)
        ).fetchone()
        if row is not None:
            raise SimError(
                Code.CONFLICT, f"instance {name} already exists in {request.zone} with id {row['id']}"
            )


def _insert_instances(
    db: sqlite3.Connection, rules: Rules, request: CreateBody, *, ids: list[str], operation: str, at: float
) -> None:
    settings = rules.settings
    shared = {
        "zone": request.zone,
        "region": rules.profile.region_of(request.zone),
        "instance_type": request.instance_type,
        "capacity_type": request.capacity_type,
        "image": request.image,
        "disk_gib": request.disk_gib,
        "user": request.user,
        "ssh_keys": json.dumps(request.ssh_keys),
        "owner": request.labels["gf-owner"],
        "labels": json.dumps(dict(request.labels), ensure_ascii=False),
        "metadata": json.dumps(dict(request.metadata), ensure_ascii=False),
        "termination_action": request.termination_action,
        "machines": settings.machines.value,
        "ssh_server": settings.ssh_server,
        "created": at,
        "deadline": request.deadline.timestamp(),
        "boot_seconds": settings.latency.boot_seconds,
        "status": "PROVISIONING",
        "create_operation": operation,
    }
    places = allocate(db, len(ids))
    columns = [*shared, "id", "name", "host", "port"]
    marks = ", ".join(f":{column}" for column in columns)
    db.executemany(
        f"INSERT INTO instances ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 - names from above
        [
            {**shared, "id": instance_id, "name": name, "host": host, "port": port}
            for instance_id, name, (host, port) in zip(ids, request.names, places, strict=True)
        ],
    )


def finish_create(db: sqlite3.Connection, operation: Operation, *, at: float) -> None:
    """The latency is over: the whole gang runs, or the operation says why none of it does."""
    waiting = db.execute(
        "SELECT zone, instance_type, capacity_type FROM instances"
        " WHERE create_operation=? AND status='PROVISIONING'",
        (operation.name,),
    ).fetchall()
    code, message = _failure(db, operation, waiting, at)
    if code:
        db.execute(
            "UPDATE instances SET status='DELETED', ended=?, reason=?"
            " WHERE create_operation=? AND status='PROVISIONING'",
            (at, message, operation.name),
        )
    else:
        db.execute(
            "UPDATE instances SET status='RUNNING', running_since=?"
            " WHERE create_operation=? AND status='PROVISIONING'",
            (at, operation.name),
        )
    operations.finish(db, operation.name, at=at, code=code, message=message)


def _failure(
    db: sqlite3.Connection, operation: Operation, waiting: list[sqlite3.Row], at: float
) -> tuple[str, str]:
    if operation.forced_error:
        return operation.forced_error, f"the create failed: {operation.forced_error} (fault)"
    if not waiting:
        return "", ""
    zone, instance_type, capacity_type = waiting[0]
    if is_out_of_stock(
        db, zone=zone, instance_type=instance_type, capacity_type=capacity_type, count=len(waiting), at=at
    ):
        return Code.CAPACITY, f"{instance_type} is out of stock in {zone}"
    return "", ""
