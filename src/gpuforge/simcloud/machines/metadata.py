"""The metadata service of a simulated machine: the part of GCE's that programs on a node ask for.

Every request carries ``Metadata-Flavor: Google``, so that a confused program cannot be made to ask. Two
paths are our own: ``POST /gpuforge/power`` is how the machine's ``poweroff`` and its like reach the simulated
machine, and ``POST /gpuforge/self-delete`` is how an idle node asks for its own deletion.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from starlette.requests import Request

    from gpuforge.simcloud.machines.link import MachineSpec

__all__ = ["MetadataServer", "MetadataState", "application", "metadata_tree", "render"]

_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_ROOT = "/computeMetadata/v1"
_LONGEST_WAIT_SECONDS = 3600.0
_LARGEST_ATTRIBUTE = 256 * 1024
_GUEST = "instance/guest-attributes/"

Tree = dict[str, Any]


@dataclass(slots=True)
class MetadataState:
    """What the service answers with, changed by the supervisor while it serves.

    Attributes:
        preempted: A preemption is announced.
        guest_attributes: What the guest wrote, ``namespace/key`` to value.
        publish: Carries a guest attribute to the cloud.
        self_delete: Asks the cloud to delete this machine.
        power: Called with ``poweroff``, ``reboot`` or ``cancel`` and a delay in seconds.
    """

    spec: MachineSpec
    address: str
    publish: Callable[[str, str], Awaitable[None]]
    self_delete: Callable[[], Awaitable[None]]
    power: Callable[[str, float], None]
    preempted: bool = False
    guest_attributes: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def announce_preemption(self) -> None:
        """Let ``instance/preempted`` say TRUE, and wake whoever waits for it."""
        async with self.changed:
            self.preempted = True
            self.changed.notify_all()


def metadata_tree(spec: MachineSpec, *, address: str, preempted: bool, guest: Mapping[str, str]) -> Tree:
    """The whole tree as nested mappings; a leaf is a text."""
    guests: Tree = {}
    for path, value in guest.items():
        namespace, _, key = path.partition("/")
        guests.setdefault(namespace, {})[key] = value
    place = f"projects/{spec.project}"
    return {
        "instance": {
            "attributes": dict(spec.metadata),
            "cpu-platform": "Simulated",
            "guest-attributes": guests,
            "hostname": f"{spec.name}.c.{spec.project}.internal",
            "id": spec.instance_id,
            "image": f"{place}/global/images/{spec.image}",
            "machine-type": f"{place}/machineTypes/{spec.instance_type}",
            "maintenance-event": "NONE",
            "name": spec.name,
            "network-interfaces": {"0": {"ip": address}},
            "preempted": "TRUE" if preempted else "FALSE",
            "scheduling": {
                "automatic-restart": "FALSE",
                "on-host-maintenance": "TERMINATE",
                "preemptible": "TRUE" if spec.spot else "FALSE",
            },
            "service-accounts": {},
            "zone": f"{place}/zones/{spec.zone}",
        },
        "project": {"project-id": spec.project},
    }


def render(tree: Tree, path: str, *, recursive: bool, as_json: bool) -> tuple[str, str] | None:
    """One answer as (body, media type); ``None`` when there is no such path."""
    node: Any = tree
    parts = [part for part in path.split("/") if part]
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    if not isinstance(node, dict):
        return (json.dumps(node), "application/json") if as_json else (str(node), "application/text")
    if recursive:
        return json.dumps(node), "application/json"
    lines = [f"{key}/" if isinstance(value, dict) else key for key, value in node.items()]
    return "".join(f"{line}\n" for line in lines), "application/text"


def application(state: MetadataState) -> Starlette:
    """The service as an ASGI application."""

    async def read(request: Request) -> Response:
        path = request.path_params.get("path", "")
        query = request.query_params
        if query.get("wait_for_change", "").lower() == "true":
            await _wait_for_change(state, path, query.get("last_etag"), query.get("timeout_sec"))
        tree = metadata_tree(
            state.spec, address=state.address, preempted=state.preempted, guest=state.guest_attributes
        )
        recursive = query.get("recursive", "").lower() == "true"
        found = render(tree, path, recursive=recursive, as_json=query.get("alt") == "json")
        if found is None:
            return PlainTextResponse("Not Found\n", 404, headers=_FLAVOR)
        body, kind = found
        return Response(body, media_type=kind, headers=_FLAVOR | {"ETag": _etag(body)})

    async def write(request: Request) -> Response:
        path = request.path_params["path"]
        namespace, _, key = path.removeprefix(_GUEST).partition("/")
        if not path.startswith(_GUEST) or not namespace or not key:
            return PlainTextResponse("guest attributes are namespace/key\n", 400, headers=_FLAVOR)
        value = await request.body()
        if len(value) > _LARGEST_ATTRIBUTE:
            return PlainTextResponse("too large\n", 413, headers=_FLAVOR)
        text = value.decode(errors="replace")
        state.guest_attributes[f"{namespace}/{key}"] = text
        await state.publish(f"{namespace}/{key}", text)
        return PlainTextResponse("", headers=_FLAVOR)

    async def power(request: Request) -> Response:
        order = _order(await request.body())
        if order is None:
            return PlainTextResponse("action is poweroff, reboot or cancel\n", 400, headers=_FLAVOR)
        state.power(*order)
        return JSONResponse({"accepted": order[0]}, 202, headers=_FLAVOR)

    async def self_delete(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        await state.self_delete()
        return JSONResponse({"accepted": "delete"}, 202, headers=_FLAVOR)

    return Starlette(
        routes=[
            Route("/", _guarded(_index)),
            Route(f"{_ROOT}/{{path:path}}", _guarded(read), methods=["GET"]),
            Route(f"{_ROOT}/{{path:path}}", _guarded(write), methods=["PUT"]),
            Route("/gpuforge/power", _guarded(power), methods=["POST"]),
            Route("/gpuforge/self-delete", _guarded(self_delete), methods=["POST", "DELETE"]),
        ]
    )


async def _index(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
    return PlainTextResponse("computeMetadata/\n", headers=_FLAVOR)


def _guarded(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        # GCE refuses both: a page in a browser, or a proxy, must not reach the metadata
        if request.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in request.headers:
            return PlainTextResponse("Missing Metadata-Flavor:Google header.\n", 403, headers=_FLAVOR)
        return await answer(request)

    return guarded


def _order(body: bytes) -> tuple[str, float] | None:
    with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
        row = json.loads(body)
        action, after = row["action"], float(row.get("after_seconds", 0))
        if action in ("poweroff", "reboot", "cancel") and 0 <= after < 1e9:
            return action, after
    return None


def _etag(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=8).hexdigest()


async def _wait_for_change(state: MetadataState, path: str, last: str | None, limit: str | None) -> None:
    """Answer once the value differs from what the asker saw, or its time is up."""

    def now() -> str:
        tree = metadata_tree(
            state.spec, address=state.address, preempted=state.preempted, guest=state.guest_attributes
        )
        found = render(tree, path, recursive=True, as_json=False)
        return _etag(found[0]) if found else "0"

    before = last if last not in (None, "0") else now()
    seconds = min(float(limit), _LONGEST_WAIT_SECONDS) if limit and limit.isdigit() else _LONGEST_WAIT_SECONDS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), state.changed:
            await state.changed.wait_for(lambda: now() != before)


class _Server(uvicorn.Server):
    """uvicorn beside the SSH server, in one loop; signals are the supervisor's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class MetadataServer:
    """Serves the application until it is closed."""

    def __init__(self, state: MetadataState) -> None:
        config = uvicorn.Config(
            application(state),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            http="h11",
            ws="none",
            timeout_graceful_shutdown=0,
        )
        self._server = _Server(config)

    async def serve(self, sock: socket.socket) -> None:
        """Serve on a bound, listening socket; returns after :meth:`close`."""
        await self._server.serve([sock])

    def close(self) -> None:
        """Stop."""
        self._server.should_exit = True
        self._server.force_exit = True
