"""The agent's client: pushes once, asks in one round trip, turns every answer into a value or an error."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from gpuforge.errors import CommandError, ConnectError, JobError
from gpuforge.models.instance import HttpCall
from gpuforge.models.job import ExitRecord, JobSpec, JobState
from gpuforge.node.client import (
    Follow,
    LogPiece,
    NodeClient,
    NodeJob,
    StateChange,
    WatcherConfig,
    agent_files,
    agent_hash,
)
from gpuforge.redact import Secret
from gpuforge.testing.local import LocalTransport
from gpuforge.testing.nodes import eventually, local_nodes


class Counting(LocalTransport):
    """Counts the commands that went over it."""

    def __init__(self, home, environ) -> None:
        super().__init__(home, environ=environ)
        self.commands: list[str] = []

    def run(self, argv, **options):
        self.commands.append(argv[-1])
        return super().run(argv, **options)

    def stream(self, argv):
        self.commands.append(argv[-1])
        return super().stream(argv)


@pytest.fixture
def node(tmp_path) -> NodeClient:
    (made,) = local_nodes(tmp_path, 1)
    return NodeClient(Counting(made.transport.home, made.transport._environ))


def job_of(run: str, **changes) -> NodeJob:
    return NodeJob(spec=JobSpec(job_id="job-1", name="a job", setup="", run=run, **changes))


def test_running_a_job_is_one_round_trip_once_the_agent_is_there(node):
    node.ensure()
    node.transport.commands.clear()

    with node.run_job(job_of("echo hi; exit 3")) as follow:
        seen = list(follow)

    assert node.transport.commands == ["run"]
    assert [item for item in seen if isinstance(item, LogPiece)] == [LogPiece(offset=0, data=b"hi\n")]
    assert isinstance(seen[-1], ExitRecord)
    assert (seen[-1].exit_code, follow.offset) == (3, 3)


def test_the_agent_is_pushed_when_it_is_not_there_and_only_then(node):
    with node.run_job(job_of("true")) as follow:
        list(follow)
    node.status()
    node.ensure()

    assert node.transport.commands == ["run", node.folder, "run", "status"]


def test_an_agent_that_was_removed_is_pushed_again(node):
    node.ensure()
    shutil.rmtree(node.transport.home / ".gpuforge" / "agent")

    assert node.status() == ()


def test_pushing_twice_leaves_one_whole_copy(node):
    node.push()
    node.push()

    (folder,) = (node.transport.home / ".gpuforge" / "agent").iterdir()
    assert folder.name == agent_hash(agent_files())
    assert {name: (folder / name).read_text() for name in agent_files()} == agent_files()


def test_the_hash_covers_every_file_and_its_name():
    files = {"agent.py": "a", "receiver.py": "b"}

    hashes = {
        agent_hash(files),
        agent_hash({"agent.py": "a"}),
        agent_hash({"agent.py": "a", "receiver.py": "c"}),
        agent_hash({"agent.py": "ab", "receiver.py": ""}),
    }

    assert len(hashes) == 4


def test_states_are_seen_as_they_change(node):
    with node.run_job(job_of("sleep 0.3")) as follow:
        states = [item for item in follow if isinstance(item, StateChange)]

    assert states[-1].state is JobState.RUNNING
    assert states[-1].phase == "run"
    assert states[-1].started is not None


def test_a_node_without_python_is_a_command_error_that_says_so(tmp_path):
    node = NodeClient(LocalTransport(tmp_path / "home", environ={"PATH": str(tmp_path)}))

    with pytest.raises(CommandError, match="has no python3"):
        node.status()
    with pytest.raises(CommandError, match="has no python3"):
        node.run_job(job_of("true")).started()


def test_an_agent_that_breaks_is_a_command_error_with_its_last_words(tmp_path):
    shim = tmp_path / "python3"
    shim.write_text("#!/bin/sh\necho 'something odd' >&2; exit 5\n")
    shim.chmod(0o755)
    node = NodeClient(LocalTransport(tmp_path / "home", environ={"PATH": f"{tmp_path}:/usr/bin:/bin"}))

    with pytest.raises(CommandError, match="something odd"):
        node.status()
    with pytest.raises(CommandError, match="something odd"):
        node.push()


def test_a_push_that_fails_is_an_error_and_not_an_endless_loop(tmp_path):
    shim = tmp_path / "python3"
    shim.write_text("#!/bin/sh\nexit 88\n")
    shim.chmod(0o755)
    node = NodeClient(LocalTransport(tmp_path / "home", environ={"PATH": f"{tmp_path}:/usr/bin:/bin"}))

    with pytest.raises(ConnectError, match="ended early"):
        node.run_job(job_of("true")).started()


def test_a_stream_that_ends_before_the_record_is_a_lost_connection(node):
    follow = node.run_job(job_of("sleep 60", grace_seconds=0))
    follow.started()
    follow._process._process.kill()

    with pytest.raises(ConnectError, match="ended early"):
        list(follow)
    assert node.cancel("job-1").state is JobState.CANCELLED


def test_an_error_in_the_middle_of_a_stream_is_raised(node):
    follow = Follow(node, "logs", {"job_id": "job-1"})
    answer = json.dumps({"code": "os", "brief": "the disk went away"}).encode()
    begin = json.dumps({"job_id": "job-1", "alias": 1, "already": True, "port": None}).encode()
    for letter, payload in ((b"J", begin), (b"X", answer)):
        follow._buffer += letter + len(payload).to_bytes(4, "big") + payload

    with follow, pytest.raises(JobError, match="node 0: the disk went away"):
        list(follow)


def test_what_the_node_is_told_reveals_secrets_to_it_alone(node):
    job = job_of("true", secrets={"TOKEN": Secret("s3cr3t-v4lue")})

    assert job.request()["spec"]["secrets"] == {"TOKEN": "s3cr3t-v4lue"}
    assert "s3cr3t" not in repr(job)


def test_the_watcher_starts_once_takes_a_new_deadline_and_reports(node):
    deadline = datetime.now(UTC) + timedelta(hours=1)
    call = HttpCall(method="GET", url="http://127.0.0.1:1/", headers={"Metadata-Flavor": "Google"})
    config = WatcherConfig(
        deadline=deadline, autostop_minutes=None, notice=call, heartbeat_seconds=0.05, tick_seconds=0.05
    )
    before = node.watcher()
    try:
        first = node.start_watcher(config)
        second = node.start_watcher(WatcherConfig(deadline=None, autostop_minutes=20, tick_seconds=0.05))
        report = node.transport.home / ".gpuforge" / "watcher.json"
        first_pid = json.loads(eventually(lambda: report.exists() and report.read_text()))["pid"]
        told = eventually(lambda: (w := node.watcher()).heartbeat and w.next_stop is None and w)
        second_pid = json.loads(report.read_text())["pid"]
    finally:
        (node.transport.home / ".gpuforge" / "watcher.config.json").unlink()
    eventually(lambda: not node.watcher().alive)

    assert not before.alive
    assert first.alive
    assert second.alive
    assert first_pid == second_pid
    assert told.error == ""


def test_a_newer_agent_takes_the_older_watchers_place(node):
    config = WatcherConfig(deadline=None, autostop_minutes=None, heartbeat_seconds=0.05, tick_seconds=0.05)
    older = NodeClient(node.transport)
    older.folder = ".gpuforge/agent/older"
    try:
        older.start_watcher(config)
        node.start_watcher(config)
        holder = (node.transport.home / ".gpuforge" / "watcher.lock").read_text()
    finally:
        (node.transport.home / ".gpuforge" / "watcher.config.json").unlink()
    eventually(lambda: not node.watcher().alive)

    assert holder == str(node.transport.home / node.folder)
