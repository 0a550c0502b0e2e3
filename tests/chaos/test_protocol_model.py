"""The protocol's model of what loses machines: one VM, 26 scenarios, nine ways to keep a record.

It shows why gpuforge journals an intent, names deterministically, sends a token, re-drives and sets a
deadline (variant H), and how many scenarios each lesser way leaks. The real code runs the same scenarios
in ``test_crash_points.py``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest

FATES = ("lost", "applied", "late")
POINTS = [
    ("before_intent", ""),
    ("after_intent", ""),
    *(("create_in_flight", fate) for fate in FATES),
    ("after_reply", ""),
    ("after_ack", ""),
    ("running", ""),
    ("del_intent", ""),
    *(("delete_in_flight", fate) for fate in FATES),
    ("after_delete", ""),
]
SCENARIOS = list(itertools.product(POINTS, ("fresh", "stale")))


@dataclass(frozen=True)
class Variant:
    """What a client keeps and does."""

    intent: bool = False  # recorded before the call
    ack: bool = False  # recorded after the reply
    token: bool = False
    redrive: bool = False  # else it lists, and deletes what it sees
    deadline: bool = False
    forgotten: bool = False  # the cloud forgets the token before recovery


A = Variant()
TERRAFORM_LIKE = Variant(ack=True)
LISTING = Variant(intent=True, ack=True)  # random or deterministic names: a list helps as little
LISTING_WITH_TOKEN = replace(LISTING, token=True)
REDRIVE = replace(LISTING, redrive=True)
REDRIVE_WITH_TOKEN = replace(REDRIVE, token=True)
SWITCH_ONLY = Variant(deadline=True)
OURS = replace(REDRIVE_WITH_TOKEN, deadline=True)
FORGOTTEN = replace(OURS, forgotten=True)


@dataclass
class Cloud:
    """Names are unique among the living on GCE alone; a token that is known gives back what it made."""

    kind: str
    alive: dict[int, bool] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def create(self, token: str) -> int:
        if token in self.tokens:
            return self.tokens[token]
        living = [number for number, is_alive in self.alive.items() if is_alive]
        if self.kind == "gce" and living:
            return living[0]  # 409, with the id of the one that has the name
        number = len(self.alive)
        self.alive[number] = True
        if token:
            self.tokens[token] = number
        return number

    def delete(self, number: int) -> None:
        self.alive[number] = False


@dataclass
class Client:
    variant: Variant
    cloud: Cloud
    has_intent: bool = False
    known: int | None = None  # the id, once recorded
    late: str = ""

    @property
    def token(self) -> str:
        return "token" if self.variant.token else ""

    def live_until(self, point: str, fate: str) -> None:
        order = list(dict.fromkeys(name for name, _ in POINTS))
        reached = order.index(point)
        self.has_intent = self.variant.intent and reached >= 1
        vm = None
        if point == "create_in_flight":
            self.late = "create" if fate == "late" else ""
            if fate == "applied":
                self.cloud.create(self.token)
        elif reached > 2:
            vm = self.cloud.create(self.token)
        if vm is not None and reached >= order.index("after_ack") and self.variant.ack:
            self.known = vm
        if point == "delete_in_flight":
            self.late = "delete" if fate == "late" else ""
        if (point, fate) == ("delete_in_flight", "applied") or point == "after_delete":
            self.cloud.delete(vm)

    def recover(self, view: str) -> None:
        if self.known is not None:
            self.cloud.delete(self.known)
        elif self.has_intent and self.variant.redrive:
            self.cloud.delete(self.cloud.create(self.token))
        elif self.has_intent and view == "fresh":
            for number in self.cloud.alive:
                self.cloud.delete(number)

    def land(self) -> None:
        """What was under way arrives."""
        if self.late == "create":
            self.cloud.create(self.token)
        elif self.late == "delete":
            self.cloud.delete(0)


def ends(variant: Variant, kind: str, *, returns: bool) -> tuple[int, int]:
    """How many of the 26 scenarios leak, and how many leave what a deadline ends."""
    living = 0
    for (point, fate), view in SCENARIOS:
        cloud = Cloud(kind)
        client = Client(variant, cloud)
        client.live_until(point, fate)
        if variant.forgotten:
            cloud.tokens.clear()
            client.variant = replace(variant, token=False)
        if returns:
            client.recover(view)
        client.land()
        living += any(cloud.alive.values())
    return (0, living) if variant.deadline else (living, 0)


def test_there_are_twenty_six_scenarios():
    assert len(SCENARIOS) == 26


@pytest.mark.parametrize(
    ("variant", "gce", "ec2", "never"),
    [
        pytest.param(A, (14, 0), (14, 0), (14, 0), id="A nothing recorded"),
        pytest.param(TERRAFORM_LIKE, (6, 0), (6, 0), (14, 0), id="A' state after the reply"),
        pytest.param(LISTING, (4, 0), (4, 0), (14, 0), id="B, C journal and list"),
        pytest.param(LISTING_WITH_TOKEN, (4, 0), (4, 0), (14, 0), id="D token, still list"),
        pytest.param(REDRIVE, (2, 0), (6, 0), (14, 0), id="E re-drive without token"),
        pytest.param(REDRIVE_WITH_TOKEN, (0, 0), (0, 0), (14, 0), id="F re-drive with token"),
        pytest.param(SWITCH_ONLY, (0, 14), (0, 14), (0, 14), id="G deadline only"),
        pytest.param(OURS, (0, 0), (0, 0), (0, 14), id="H ours"),
        pytest.param(FORGOTTEN, (0, 2), (0, 6), (0, 14), id="H, the token forgotten"),
    ],
)
def test_each_way_leaves_what_the_protocol_says(variant, gce, ec2, never):
    assert ends(variant, "gce", returns=True) == gce
    assert ends(variant, "ec2", returns=True) == ec2
    assert ends(variant, "gce", returns=False) == never
    assert ends(variant, "ec2", returns=False) == never
