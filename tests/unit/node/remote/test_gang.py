"""The gang's head and members, stepped by hand over real sockets: who is blamed, told, let in."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from gpuforge.node.remote.head import Head
from gpuforge.node.remote.member import Member
from gpuforge.node.remote.records import make_record
from gpuforge.node.remote.supervisor import make_gang
from gpuforge.testing.nodes import eventually

TOKEN = "a token"


def spec_of(rank: int, size: int, port: int | None = None, **gang) -> dict:
    return {
        "job_id": "job-1",
        "rank": rank,
        "num_nodes": size,
        "gang": {"address": "127.0.92.1", "port": port, "settle_seconds": 0.0, **gang},
    }


def record_of(rank: int, state: str = "failed", cause: str = "exit 3") -> dict:
    return make_record(rank, state, phase="run", cause=cause, exit_code=3)


class Stage:
    """A head in a thread of its own (joining needs both sides), and members that the test steps."""

    def __init__(self, size: int, **gang) -> None:
        self.gang = {"reconnect_seconds": 0.3, **gang}
        self.size = size
        self.head = Head(spec_of(0, size, **self.gang), TOKEN)
        self.members: dict[int, Member] = {}
        self.lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed:
            with self.lock:
                self.head.service(set(self.head.descriptors()), time.monotonic())
            time.sleep(0.005)

    def join(self, *ranks: int, token: str = TOKEN) -> None:
        for rank in ranks:
            spec = spec_of(rank, self.size, port=self.head.listening, **self.gang)
            self.members[rank] = Member(spec, token)
            self.step(rank)

    def step(self, *ranks: int) -> None:
        for rank in ranks or self.members:
            member = self.members[rank]
            member.service(set(member.descriptors()), time.monotonic())

    def until(self, probe) -> None:
        def look() -> bool:
            self.step()
            return bool(probe())

        eventually(look)

    def close(self) -> None:
        self._closed = True
        self._thread.join()
        for line in [*self.head._strangers, *(seat.line for seat in self.head._seats.values())]:
            if line is not None:
                line.close()
        self.head._listener.close()
        for member in self.members.values():
            if member._line is not None:
                member._line.close()


@pytest.fixture
def stage():
    made = []

    def make(size: int, **gang) -> Stage:
        made.append(Stage(size, **gang))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_job_on_one_node_has_no_gang():
    assert make_gang({"num_nodes": 1, "rank": 0}, TOKEN) is None


def test_turn_and_start_reach_everybody_and_the_port_is_one(stage):
    play = stage(3)
    play.join(1, 2)

    with play.lock:
        play.head.announce_turn()
        play.head.ready()
    play.until(lambda: all(member.turn for member in play.members.values()))
    early = play.head.port
    for member in play.members.values():
        member.ready()
    play.until(lambda: all(member.port for member in play.members.values()))

    assert early is None
    assert {member.port for member in play.members.values()} == {play.head.port}


def test_who_joins_late_hears_what_was_said_before(stage):
    play = stage(2)
    with play.lock:
        play.head.announce_turn()

    play.join(1)
    play.until(lambda: play.members[1].turn)

    assert play.head._seats[1].joined


def test_a_gang_in_which_all_succeed_settles_without_a_verdict(stage):
    play = stage(2)
    play.join(1)

    play.members[1].ended(record_of(1, "succeeded", ""))
    play.until(lambda: play.members[1].settled and play.members[1].delivered)
    with play.lock:
        play.head.ended(record_of(0, "succeeded", ""))
    eventually(lambda: play.head.settled)
    before = play.head.delivered
    play.members[1]._line.close()
    eventually(lambda: play.head.delivered)

    assert not before
    assert play.head.verdict is None
    assert play.members[1].verdict is None


def test_the_first_failure_is_the_verdict(stage):
    play = stage(3)
    play.join(1, 2)

    play.members[2].ended(record_of(2))
    play.until(lambda: play.members[1].verdict and play.members[2].verdict)
    with play.lock:
        play.head.ended(record_of(0, cause="exit 1"))

    assert play.head.verdict == {"rank": 2, "state": "failed", "cause": "node 2 failed: exit 3"}
    assert play.members[1].verdict == play.head.verdict


def test_a_node_that_vanished_is_blamed_before_one_that_failed_for_want_of_it(stage):
    play = stage(3)
    play.join(1, 2)

    play.members.pop(1)._line.close()
    with play.lock:
        play.head.ended(record_of(0, cause="exit 1"))
    play.until(lambda: play.members[2].verdict)

    assert play.members[2].verdict == {"rank": 1, "state": "lost", "cause": "node 1 was lost"}


def test_a_node_that_says_nothing_over_a_standing_connection_is_blamed_too(stage):
    play = stage(3)
    play.join(1, 2)

    silent = play.members.pop(1)  # a machine without power: no answer, and no end of the connection
    play.members[2].ended(record_of(2, cause="exit 1"))
    play.until(lambda: play.members[2].verdict)
    silent._line.close()

    assert play.head.verdict["cause"] == "node 1 was lost"


def test_a_connection_that_comes_back_in_time_costs_nothing(stage):
    play = stage(2, reconnect_seconds=5)
    play.join(1)
    play.members[1].ready()

    play.members[1]._line.socket.shutdown(socket.SHUT_RDWR)
    play.until(lambda: play.members[1]._line is None)
    play.until(lambda: play.members[1]._line is not None)
    with play.lock:
        play.head.ready()
    play.until(lambda: play.members[1].port)

    assert play.head.verdict is None
    assert play.members[1].verdict is None


def test_a_member_whose_head_is_gone_gives_up_after_its_patience(stage):
    play = stage(2)
    play.join(1)
    play.close()

    play.until(lambda: play.members[1].verdict)

    assert play.members[1].verdict == {"rank": 0, "state": "lost", "cause": "node 0 was lost"}


def test_a_member_that_hears_nothing_drops_the_line(stage):
    play = stage(2)
    play.join(1)
    member = play.members[1]

    member.service(set(), time.monotonic() + member.silence + 1)

    assert member._line is None


def test_a_member_that_never_reaches_the_head_says_where_it_tried():
    with socket.socket() as taken:
        taken.bind(("127.0.92.1", 0))
        port = taken.getsockname()[1]
        member = Member(spec_of(1, 2, port=port, start_seconds=0.2), TOKEN)
        eventually(lambda: member.service(set(), time.monotonic()) or member.verdict)

    assert member.verdict["cause"] == f"node 0 could not be reached at 127.0.92.1:{port}"


def test_who_does_not_know_the_token_does_not_sit_down(stage):
    play = stage(2)
    play.join(1, token="another token")

    play.until(lambda: not play.head._strangers)

    assert not play.head._seats[1].joined
    assert play.members[1]._line is None


@pytest.mark.parametrize(
    "words",
    [b"", b"not json\n", b"[1, 2]\n", b'{"hello": 9}\n', b'{"hello": "1"}\n', b"x" * 300_000],
)
def test_a_stranger_who_babbles_is_shown_out(stage, words):
    play = stage(2)
    with socket.create_connection(("127.0.92.1", play.head.listening), timeout=10) as stranger:
        stranger.recv(4096)
        try:
            stranger.sendall(words)
            stranger.shutdown(socket.SHUT_WR)
            rest = stranger.recv(4096)
        except OSError:
            rest = b""

    assert rest == b""
    assert not play.head._seats[1].joined


def test_a_stranger_who_says_nothing_is_shown_out(stage):
    play = stage(2)
    with socket.create_connection(("127.0.92.1", play.head.listening), timeout=10) as stranger:
        stranger.recv(4096)
        eventually(lambda: play.head._strangers)
        with play.lock:
            play.head._greet(set(), time.monotonic() + 6)

        assert stranger.recv(4096) == b""


def test_a_request_to_stop_is_passed_on_at_once(stage):
    play = stage(3)
    play.join(1, 2)

    play.members[1].stopping("cancelled", "cancelled")
    play.until(lambda: play.members[2].verdict)

    assert play.members[2].verdict == {"rank": 1, "state": "cancelled", "cause": "cancelled"}


def test_the_heads_own_stop_is_passed_on_and_the_first_verdict_stays(stage):
    play = stage(2)
    play.join(1)

    with play.lock:
        play.head.stopping("failed", "ran longer than its limit of 1 s")
        play.head.stopping("cancelled", "cancelled")
    play.until(lambda: play.members[1].verdict)

    assert play.members[1].verdict["cause"] == "node 0 failed: ran longer than its limit of 1 s"


def test_who_does_not_join_in_time_is_named(stage):
    play = stage(4, start_seconds=0.2)
    play.join(2)

    play.until(lambda: play.members[2].verdict)

    assert play.members[2].verdict["cause"] == "nodes 1, 3 did not join within 0 s"


def test_a_member_with_its_verdict_needs_no_connection(stage):
    play = stage(2)
    play.join(1)
    play.members[1].stopping("cancelled", "cancelled")
    play.until(lambda: play.members[1].verdict)
    play.close()

    play.until(lambda: play.members[1].delivered)

    assert play.members[1].verdict["cause"] == "cancelled"
