"""Shared values to and from the JSON of journal rows; what is read back is checked: files are hostile."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpuforge.models.image import Image
from gpuforge.models.instance import HostKey, HttpCall, InstanceRef, PreparedCreate, Route
from gpuforge.models.money import Price
from gpuforge.models.offering import Offering
from gpuforge.models.resources import Accelerator, CapacityType

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DAMAGED",
    "host_key_from_json",
    "host_key_to_json",
    "http_call_from_json",
    "http_call_to_json",
    "image_from_json",
    "image_to_json",
    "moment_from_json",
    "moment_to_json",
    "money_from_json",
    "money_to_json",
    "offering_from_json",
    "offering_to_json",
    "prepared_from_json",
    "prepared_to_json",
    "ref_from_json",
    "ref_to_json",
    "route_from_json",
    "route_to_json",
]

DAMAGED = (KeyError, ValueError, TypeError, AttributeError, ArithmeticError)
"""What a damaged text raises on its way into a value; callers turn it into ``StateError``."""


def moment_to_json(moment: datetime) -> str:
    """RFC 3339 in UTC, microseconds kept."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment_from_json(text: str) -> datetime:
    """An aware UTC time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)


def money_to_json(amount: Decimal | None) -> str | None:
    """Exact digits; unknown stays unknown."""
    return None if amount is None else str(amount)


def money_from_json(text: str | None) -> Decimal | None:
    """The inverse of :func:`money_to_json`."""
    return None if text is None else Decimal(text)


def offering_to_json(offering: Offering) -> dict[str, Any]:
    """Everything of an offering, its price and date included."""
    gpu, price = offering.accelerator, offering.price
    return {
        "provider": offering.provider,
        "region": offering.region,
        "zone": offering.zone,
        "instance_type": offering.instance_type,
        "accelerator": gpu and {"name": gpu.name, "count": gpu.count, "memory_gib": gpu.memory_gib},
        "vcpus": offering.vcpus,
        "memory_gib": str(offering.memory_gib),
        "capacity_type": offering.capacity_type.value,
        "price": price
        and {
            "usd_per_hour": str(price.usd_per_hour),
            "as_of": price.as_of.isoformat(),
            "source": price.source,
        },
        "disk_usd_per_gib_month": money_to_json(offering.disk_usd_per_gib_month),
        "arch": offering.arch,
        "restriction": offering.restriction,
    }


def offering_from_json(data: Mapping[str, Any]) -> Offering:
    """The inverse of :func:`offering_to_json`."""
    gpu, price = data["accelerator"], data["price"]
    return Offering(
        provider=str(data["provider"]),
        region=str(data["region"]),
        zone=str(data["zone"]),
        instance_type=str(data["instance_type"]),
        accelerator=gpu
        and Accelerator(name=str(gpu["name"]), count=int(gpu["count"]), memory_gib=gpu["memory_gib"]),
        vcpus=int(data["vcpus"]),
        memory_gib=Decimal(data["memory_gib"]),
        capacity_type=CapacityType(data["capacity_type"]),
        price=price
        and Price(
            usd_per_hour=Decimal(price["usd_per_hour"]),
            as_of=date.fromisoformat(price["as_of"]),
            source=str(price["source"]),
        ),
        disk_usd_per_gib_month=money_from_json(data["disk_usd_per_gib_month"]),
        arch=str(data["arch"]),
        restriction=str(data["restriction"]),
    )


def image_to_json(image: Image) -> dict[str, Any]:
    """Everything of an image."""
    return {
        "provider": image.provider,
        "id": image.id,
        "family": image.family,
        "framework": image.framework,
        "cuda": image.cuda,
        "driver": image.driver,
        "os": image.os,
        "arch": image.arch,
        "created": image.created.isoformat(),
        "min_disk_gib": image.min_disk_gib,
        "deprecated": image.deprecated and image.deprecated.isoformat(),
    }


def image_from_json(data: Mapping[str, Any]) -> Image:
    """The inverse of :func:`image_to_json`."""
    words = {key: str(data[key]) for key in ("provider", "id", "family", "framework", "cuda", "driver")}
    return Image(
        **words,
        os=str(data["os"]),
        arch=str(data["arch"]),
        created=date.fromisoformat(data["created"]),
        min_disk_gib=int(data["min_disk_gib"]),
        deprecated=data["deprecated"] and date.fromisoformat(data["deprecated"]),
    )


def ref_to_json(ref: InstanceRef) -> dict[str, Any]:
    """A reference, with the cloud's id where it is known."""
    return {
        "provider": ref.provider,
        "region": ref.region,
        "zone": ref.zone,
        "name": ref.name,
        "id": ref.instance_id,
    }


def ref_from_json(data: Mapping[str, Any]) -> InstanceRef:
    """The inverse of :func:`ref_to_json`."""
    return InstanceRef(
        provider=str(data["provider"]),
        region=str(data["region"]),
        zone=str(data["zone"]),
        name=str(data["name"]),
        instance_id=None if data["id"] is None else str(data["id"]),
    )


def route_to_json(route: Route) -> dict[str, Any]:
    """The way in."""
    return {
        "host": route.host,
        "port": route.port,
        "user": route.user,
        "proxy_command": list(route.proxy_command),
    }


def route_from_json(data: Mapping[str, Any]) -> Route:
    """The inverse of :func:`route_to_json`."""
    return Route(
        host=str(data["host"]),
        port=int(data["port"]),
        user=str(data["user"]),
        proxy_command=tuple(map(str, data["proxy_command"])),
    )


def host_key_to_json(key: HostKey) -> dict[str, Any]:
    """A public host key."""
    return {"kind": key.kind, "blob": key.blob}


def host_key_from_json(data: Mapping[str, Any]) -> HostKey:
    """The inverse of :func:`host_key_to_json`."""
    return HostKey(kind=str(data["kind"]), blob=str(data["blob"]))


def http_call_to_json(call: HttpCall | None) -> dict[str, Any] | None:
    """A request the node makes by itself, or none."""
    if call is None:
        return None
    return {"method": call.method, "url": call.url, "headers": dict(call.headers)}


def http_call_from_json(data: Mapping[str, Any] | None) -> HttpCall | None:
    """The inverse of :func:`http_call_to_json`."""
    if data is None:
        return None
    headers = {str(name): str(value) for name, value in data["headers"].items()}
    return HttpCall(method=str(data["method"]), url=str(data["url"]), headers=headers)


def prepared_to_json(prepared: PreparedCreate) -> dict[str, Any]:
    """The exact words of a create: what a re-drive sends again, byte for byte."""
    return {
        "provider": prepared.provider,
        "region": prepared.region,
        "zone": prepared.zone,
        "names": list(prepared.names),
        "token": prepared.token,
        "body": base64.b64encode(prepared.body).decode("ascii"),
        "deadline": moment_to_json(prepared.deadline),
    }


def prepared_from_json(data: Mapping[str, Any]) -> PreparedCreate:
    """The inverse of :func:`prepared_to_json`."""
    return PreparedCreate(
        provider=str(data["provider"]),
        region=str(data["region"]),
        zone=str(data["zone"]),
        names=tuple(map(str, data["names"])),
        token=str(data["token"]),
        body=base64.b64decode(data["body"], validate=True),
        deadline=moment_from_json(data["deadline"]),
    )
