"""The metadata service answers as Compute Engine's does, over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from gpuforge.simcloud.machines.metadata import MetadataServer, MetadataState, metadata_tree, render
from gpuforge.testing.machines import machine_spec

_FLAVOR = {"Metadata-Flavor": "Google"}


@dataclass
class Service:
    """A served application, and what it told."""

    port: int
    state: MetadataState
    loop: asyncio.AbstractEventLoop
    told: list[Any] = field(default_factory=list)

    def ask(self, path, *, method="GET", body=b"", headers=None):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body, _FLAVOR if headers is None else headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())


@pytest.fixture
def service(served):
    """The service as it is after a boot."""
    served.told.clear()
    served.state.preempted = False
    served.state.guest_attributes.clear()
    return served


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One service for all tests of this module."""
    spec = machine_spec(tmp_path_factory.mktemp("m"), public_key="k", metadata={"startup": "x"}, spot=True)
    told: list[Any] = []
    ready = threading.Event()
    box: list[Any] = []

    async def publish(key: str, value: str) -> None:
        told.append(("publish", key, value))

    async def self_delete() -> None:
        told.append("self-delete")

    async def serve(sock: socket.socket) -> None:
        state = MetadataState(
            spec=spec,
            address="127.0.80.1",
            publish=publish,
            self_delete=self_delete,
            power=lambda action, after: told.append((action, after)),
        )
        server = MetadataServer(state)
        box.extend([state, asyncio.get_running_loop(), server])
        ready.set()
        await server.serve(sock)

    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    thread = threading.Thread(target=lambda: asyncio.run(serve(sock)))
    thread.start()
    assert ready.wait(20)
    state, loop, server = box
    yield Service(port, state, loop, told)
    loop.call_soon_threadsafe(server.close)
    thread.join(20)
    assert not thread.is_alive()


def test_values_are_where_programs_look_for_them(service):
    status, body, headers = service.ask("/computeMetadata/v1/instance/id")
    assert (status, body) == (200, "4711")
    assert headers["metadata-flavor"] == "Google"
    zone = service.ask("/computeMetadata/v1/instance/zone")[1]
    assert zone == "projects/simulated/zones/sim-central-a"
    assert service.ask("/computeMetadata/v1/instance/attributes/startup")[1] == "x"
    assert service.ask("/computeMetadata/v1/instance/scheduling/preemptible")[1] == "TRUE"


def test_folders_list_and_recurse(service):
    listing = service.ask("/computeMetadata/v1/instance/")[1].splitlines()
    assert {"attributes/", "id", "zone"} <= set(listing)
    status, body, _ = service.ask("/computeMetadata/v1/?recursive=true")
    assert json.loads(body)["project"]["project-id"] == "simulated"
    assert service.ask("/computeMetadata/v1/instance/name?alt=json")[1] == '"gf-test-0-1"'
    assert status == 200
    assert service.ask("/")[1] == "computeMetadata/\n"


@pytest.mark.parametrize("path", ["instance/nothing", "instance/id/deeper", "elsewhere"])
def test_what_is_not_there_is_not_found(service, path):
    assert service.ask(f"/computeMetadata/v1/{path}")[0] == 404


@pytest.mark.parametrize("headers", [{}, {"Metadata-Flavor": "x"}, {**_FLAVOR, "X-Forwarded-For": "1.2.3.4"}])
def test_a_request_without_the_flavor_or_through_a_proxy_is_refused(service, headers):
    assert service.ask("/computeMetadata/v1/instance/id", headers=headers)[0] == 403
    assert service.ask("/gpuforge/power", method="POST", body=b"{}", headers=headers)[0] == 403
    assert service.told == []


def test_guest_attributes_are_kept_and_carried_to_the_cloud(service):
    path = "/computeMetadata/v1/instance/guest-attributes/ns/key"
    assert service.ask(path, method="PUT", body="wért".encode())[0] == 200
    assert service.told == [("publish", "ns/key", "wért")]
    assert service.ask(path)[1] == "wért"


@pytest.mark.parametrize("path", ["guest-attributes/onlyone", "guest-attributes//k", "attributes/a/b"])
def test_only_guest_attributes_can_be_written(service, path):
    assert service.ask(f"/computeMetadata/v1/instance/{path}", method="PUT", body=b"x")[0] == 400
    assert service.told == []


def test_a_guest_attribute_has_a_largest_size(service):
    path = "/computeMetadata/v1/instance/guest-attributes/ns/key"
    assert service.ask(path, method="PUT", body=b"x" * (256 * 1024 + 1))[0] == 413


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"action": "poweroff"}', ("poweroff", 0.0)),
        (b'{"action": "reboot", "after_seconds": 60}', ("reboot", 60.0)),
        (b'{"action": "cancel"}', ("cancel", 0.0)),
    ],
)
def test_power_orders_reach_the_machine(service, body, told):
    assert service.ask("/gpuforge/power", method="POST", body=body)[0] == 202
    assert service.told == [told]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"action": "fly"}', b'{"action": "reboot", "after_seconds": "x"}', b"\xff"]
)
def test_damaged_power_orders_are_refused(service, body):
    assert service.ask("/gpuforge/power", method="POST", body=body)[0] == 400
    assert service.told == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_idle_node_can_ask_for_its_own_deletion(service, method):
    assert service.ask("/gpuforge/self-delete", method=method)[0] == 202
    assert service.told == ["self-delete"]


def test_a_waiting_reader_learns_of_a_preemption(service):
    path = "/computeMetadata/v1/instance/preempted"
    status, body, headers = service.ask(path)
    assert (status, body) == (200, "FALSE")
    answers: list[str] = []
    query = f"{path}?wait_for_change=true&last_etag={headers['etag']}"
    reader = threading.Thread(target=lambda: answers.append(service.ask(query)[1]))
    reader.start()
    asyncio.run_coroutine_threadsafe(service.state.announce_preemption(), service.loop).result(20)
    reader.join(20)
    assert answers == ["TRUE"]


def test_a_reader_that_saw_an_older_value_is_answered_at_once(service):
    path = "/computeMetadata/v1/instance/preempted"
    assert service.ask(f"{path}?wait_for_change=true&last_etag=abc")[1] == "FALSE"


def test_a_wait_ends_at_its_time(service):
    path = "/computeMetadata/v1/instance/preempted?wait_for_change=true&timeout_sec=0"
    assert service.ask(path)[1] == "FALSE"


def test_the_tree_holds_no_credentials(tmp_path):
    spec = machine_spec(tmp_path, public_key="k")
    tree = metadata_tree(spec, address="a", preempted=False, guest={"n/k": "v"})
    assert render(tree, "instance/service-accounts/", recursive=True, as_json=True) == (
        "{}",
        "application/json",
    )
    assert render(tree, "instance/guest-attributes/n/k", recursive=False, as_json=False) == (
        "v",
        "application/text",
    )
