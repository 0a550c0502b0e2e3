"""A client that dies while it streams loses nothing: the next one goes on where it stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gpuforge import jobs
from gpuforge.errors import ConnectError
from gpuforge.jobs.logs import Reconnect
from gpuforge.models.job import JobSpec, JobState
from gpuforge.testing.nodes import eventually, local_cluster, local_nodes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.chaos

LINES = 2000
RUN = (
    f'for i in $(seq {LINES}); do echo "line $i of a log with some width to it"; '
    "[ $((i % 50)) = 0 ] && sleep 0.01; done; exit 9"
)
WANTED = "".join(f"line {i} of a log with some width to it\n" for i in range(1, LINES + 1)).encode()

# a client of its own: streams from an offset, writes what came to a file and how far it got to stdout
CLIENT = """\
import sys
from pathlib import Path
from gpuforge import jobs
from gpuforge.models.job import JobSpec
from gpuforge.testing.nodes import local_cluster, local_nodes

base, into, start = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
nodes = local_nodes(base, 1)
spec = JobSpec(job_id="job-1", name="kills", setup="", run=sys.argv[4])
if start == 0:
    stream = jobs.run(nodes, spec, cluster=local_cluster(1))
else:
    stream = jobs.stream(nodes, "job-1", offsets={0: start})
with into.open("ab", buffering=0) as file:
    for chunk in stream:
        assert chunk.offset == file.tell(), (chunk.offset, file.tell())
        for at in range(0, len(chunk.data), 512):
            file.write(chunk.data[at : at + 512])
            print(file.tell(), flush=True)
"""


def client_killed_at(base: Path, into: Path, offset: int) -> None:
    """Stream in a process of its own, and kill -9 it as soon as ``offset`` bytes are on disk."""
    done = into.stat().st_size if into.exists() else 0
    argv = [sys.executable, "-c", CLIENT, str(base), str(into), str(done), RUN]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        for line in process.stdout:
            if int(line) >= offset:
                break
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", [1, 2])
def test_five_clients_killed_while_streaming_lose_and_repeat_nothing(tmp_path, seed):
    offsets = sorted(random.Random(seed).sample(range(1, len(WANTED)), 5))  # noqa: S311 - seeded on purpose
    into = tmp_path / "seen"
    nodes = local_nodes(tmp_path, 1)

    for offset in offsets:
        client_killed_at(tmp_path, into, offset)
    rest = jobs.stream(nodes, "job-1", offsets={0: into.stat().st_size})
    seen = into.read_bytes() + b"".join(chunk.data for chunk in rest)

    assert seen == WANTED
    assert jobs.job_status(nodes, "job-1").exit_code == 9
    assert rest.records[0].exit_code == 9


def test_dropped_connections_are_taken_up_by_offset(tmp_path):
    nodes = local_nodes(tmp_path, 1)
    spec = JobSpec(job_id="job-1", name="drops", setup="", run=RUN)
    drops = iter(sorted(random.Random(3).sample(range(1, len(WANTED)), 5)))  # noqa: S311 - seeded on purpose
    next_drop = next(drops)
    stream = jobs.run(nodes, spec, cluster=local_cluster(1), reconnect=Reconnect(first_delay_seconds=0.01))

    seen = b""
    for chunk in stream:
        assert chunk.offset == len(seen)
        seen += chunk.data
        if len(seen) >= next_drop:
            next_drop = next(drops, len(WANTED) * 2)
            stream._open[0]._process._process.kill()

    assert seen == WANTED
    assert stream.records[0].exit_code == 9


def test_a_node_that_does_not_come_back_ends_the_stream_with_how_far_it_got(
    tmp_path, monkeypatch, manual_clock
):
    nodes = local_nodes(tmp_path, 1)
    spec = JobSpec(job_id="job-1", name="gone", setup="", run="echo ready; sleep 60", grace_seconds=0)
    stream = jobs.run(nodes, spec, cluster=local_cluster(1), reconnect=Reconnect(clock=manual_clock))

    def refuse(*_args, **_options):
        raise ConnectError("no route to host")

    pieces = iter(stream)
    while not next(pieces).data:
        pass
    monkeypatch.setattr(nodes[0].transport, "stream", refuse)
    stream._open[0]._process._process.kill()
    with pytest.raises(ConnectError, match="read up to byte 6"):
        next(pieces)
    monkeypatch.undo()

    assert sum(manual_clock.slept) >= 300
    assert jobs.cancel(nodes, "job-1").state is JobState.CANCELLED


def test_a_supervisor_killed_while_a_client_streams_ends_the_stream_with_the_loss(tmp_path):
    nodes = local_nodes(tmp_path, 1)
    spec = JobSpec(job_id="job-1", name="lost", setup="", run="echo ready; sleep 60")
    stream = jobs.run(nodes, spec, cluster=local_cluster(1))

    for _ in filter(lambda chunk: chunk.data, stream):
        identity = tmp_path / "node0" / ".gpuforge" / "jobs" / "job-1" / "pid.json"
        os.kill(json.loads(identity.read_text())["pid"], signal.SIGKILL)

    assert stream.records[0].state is JobState.LOST


def test_the_job_ends_and_is_recorded_with_no_client_alive(tmp_path):
    into = tmp_path / "seen"
    client_killed_at(tmp_path, into, 1)

    record = tmp_path / "node0" / ".gpuforge" / "jobs" / "job-1" / "exit.json"
    eventually(record.exists)

    assert json.loads(record.read_text())["exit_code"] == 9
    assert (record.parent / "log").read_bytes() == WANTED
