"""The agent's parts in this process: its files, its look at processes, what a follower and a client are told.

Whole jobs are in ``tests/simulated/test_jobs*.py``.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gpuforge.node import agent
from gpuforge.testing.nodes import eventually


@pytest.fixture
def root(tmp_path) -> str:
    folder = tmp_path / ".gpuforge"
    folder.mkdir()
    return str(folder)


def made_job(root: str, job_id: str = "job-1", **identity) -> agent.JobFolder:
    """A job's folder as a supervisor that is gone left it."""
    folder = agent.JobFolder(root, job_id)
    Path(folder.path).mkdir(parents=True)
    agent.write_json(folder.file("spec.json"), {"name": "n", "grace_seconds": 0})
    facts = {
        "pid": 2**22 + 1,
        "session": -1,
        "boot_id": agent.boot_id(),
        "rank": 0,
        "submitted": 1.0,
        **identity,
    }
    agent.write_json(folder.file("pid.json"), facts)
    folder.reserve()
    return folder


def frames_of(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[1:5], "big")
        found.append((data[:1].decode(), data[5 : 5 + length]))
        data = data[5 + length :]
    return found


def test_the_file_is_python_3_8_and_imports_the_standard_library_alone():
    tree = ast.parse(Path(agent.__file__).read_text(), feature_version=(3, 8))
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }

    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_json_that_is_not_there_or_not_whole_is_none(tmp_path):
    torn = tmp_path / "torn"
    torn.write_text('{"a": ')
    listed = tmp_path / "list"
    listed.write_text("[1]")

    found = [agent.read_json(str(path)) for path in (tmp_path / "absent", torn, listed, torn / "below")]

    assert found == [None] * 4


def test_writing_json_replaces_the_file_and_leaves_nothing_else(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for value in ({"a": 1}, {"b": "é"}):
        agent.write_json(str(folder / "file"), value)

    assert agent.read_json(str(folder / "file")) == {"b": "é"}
    assert [path.name for path in folder.iterdir()] == ["file"]


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "A", "a b", "-a", "a\n", "x" * 65, "é"])
def test_a_job_id_cannot_leave_its_folder(root, job_id):
    with pytest.raises(agent.AgentError, match="is not a job id"):
        agent.JobFolder(root, job_id)


def test_the_first_exit_record_stays(root):
    folder = made_job(root)

    first = folder.claim(agent.make_record(0, "failed", phase="run", cause="exit 3", exit_code=3))
    second = folder.claim(agent.make_record(0, "succeeded", phase="run", cause="", exit_code=0))

    assert second == first == folder.record
    assert not Path(folder.file("exit.json.reserve")).exists()


def test_an_exit_record_never_outgrows_its_reserve(root):
    folder = made_job(root)

    folder.claim(agent.make_record(0, "failed", phase="run", cause="é" * 9000, exit_code=3))

    assert Path(folder.file("exit.json")).stat().st_size == 4096
    assert folder.record["exit_code"] == 3


def test_a_dead_supervisor_is_found_once_and_a_living_one_left_alone(root):
    folder = made_job(root)
    lock = folder.take_lock()

    assert folder.is_alive()
    assert folder.reap() is None
    os.close(lock)
    assert not folder.is_alive()
    record = folder.reap()
    assert (record["state"], record["cause"]) == ("lost", "its supervisor was killed")
    assert folder.reap() == record


def test_a_folder_without_a_supervisor_yet_is_not_reaped(root):
    folder = agent.JobFolder(root, "job-1")

    assert folder.reap() is None
    assert not folder.is_alive()
    assert folder.take_lock() is None


def test_reaping_kills_what_carries_the_jobs_marker(root):
    folder = made_job(root)
    environment = {**os.environ, "GPUFORGE_JOB_ID": "job-1"}
    with subprocess.Popen(["sleep", "60"], env=environment) as child:
        eventually(lambda: child.pid in agent.leftovers("job-1", folder.identity))
        folder.reap()

        assert child.wait(5) == -9


def test_reaping_kills_the_session_of_its_own_time_only(root):
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        started = agent.processes()[child.pid].started
        same = agent.leftovers("job-1", {"session": child.pid, "started_ticks": started})
        later = agent.leftovers("job-1", {"session": child.pid, "started_ticks": started + 1})
        child.kill()

    assert (same, later) == ([child.pid], [])


def test_jobs_are_listed_by_age_with_their_numbers(root):
    for job_id in ("b", "a", "c"):
        made_job(root, job_id)
    (Path(root) / "jobs" / "queue.lock").touch()
    (Path(root) / "jobs" / "d").mkdir()

    listed = [(row["alias"], row["job_id"], row["state"]) for row in agent.list_status(root, None)]

    assert listed == [(1, "a", "lost"), (2, "b", "lost"), (3, "c", "lost")]
    assert [row["job_id"] for row in agent.list_status(root, ["b", "z"])] == ["b"]


@pytest.mark.parametrize(
    ("status", "decoded", "words"),
    [
        (0, (0, None), "exit 0"),
        (3 << 8, (3, None), "exit 3"),
        (9, (137, 9), "killed by SIGKILL (out of memory?)"),
        (143 << 8, (143, 15), "killed by SIGTERM"),
        (255 << 8, (255, None), "exit 255"),
        (160 << 8, (160, 32), "exit 160"),
    ],
)
def test_a_shells_status_is_decoded(status, decoded, words):
    code, number = agent.decode_status(status)

    assert (code, number) == decoded
    assert agent.describe_exit(code, number) == words


def test_a_shell_without_a_status_has_no_code():
    assert agent.decode_status(None) == (None, None)


def test_first_programs_are_found_behind_shells_and_scripts(tmp_path):
    script = tmp_path / "run me.sh"
    script.write_text(
        "#!/bin/bash\nsh -c 'sleep 71 & wait' &\n"
        f'{sys.executable} -c \'import subprocess; subprocess.run(["sleep", "72"])\'\n'
    )
    script.chmod(0o755)
    with subprocess.Popen(["bash", "-c", f'"{script}"; true'], start_new_session=True) as shell:
        names = eventually(lambda: _settled(shell.pid))
        programs, shells = agent.first_programs(shell.pid)
        told = sorted(names[pid] for pid in programs)
        os.killpg(shell.pid, 9)

    # bash -> script -> (sh -> sleep 71), (python -> sleep 72)
    assert [name.partition(" ")[0] for name in told] == [sys.executable, "sleep"]
    assert "sleep 72" not in told
    assert len(shells) == 2


def _settled(pid: int) -> dict[int, str] | None:
    names = {}
    for child in agent.descendants(pid):
        with contextlib.suppress(OSError):
            names[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return names if {"sleep 71", "sleep 72"} <= set(names.values()) else None


def test_signals_and_looks_at_processes_that_are_gone_are_harmless():
    agent.send(2**22 + 1, 15)

    assert agent.environment_of(2**22 + 1) == {}
    assert not agent.is_shell(2**22 + 1)
    assert not agent._is_attached(2**22 + 1)
    assert not agent._is_our_command(2**22 + 1)


def test_a_follower_sends_the_log_from_its_offset_then_the_record(root, tmp_path):
    folder = made_job(root)
    Path(folder.file("log")).write_bytes(b"0123456789")
    agent.write_json(folder.file("state.json"), {"state": "running"})
    record = folder.claim(agent.make_record(0, "failed", phase="run", cause="exit 3", exit_code=3))
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)

    agent.follow(folder, agent.Frames(out), 4, {"job_id": "job-1"})
    frames = frames_of((tmp_path / "out").read_bytes())
    os.close(out)

    assert [letter for letter, _ in frames] == ["J", "S", "L", "E"]
    assert json.loads(frames[0][1])["offset"] == 4
    assert frames[2][1] == b"456789"
    assert json.loads(frames[3][1]) == record


def test_a_follower_ends_when_its_reader_went(root):
    folder = made_job(root)
    lock = folder.take_lock()
    reader, writer = os.pipe()
    frames = agent.Frames(writer)
    os.close(reader)

    with pytest.raises(BrokenPipeError):
        agent.follow(folder, frames, 0, {})
    assert frames.hung_up(0)
    os.close(writer)
    os.close(lock)


def test_a_follower_finds_out_that_the_supervisor_died(root, tmp_path):
    folder = made_job(root)
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)

    agent.follow(folder, agent.Frames(out), 0, {})
    os.close(out)

    letter, payload = frames_of((tmp_path / "out").read_bytes())[-1]
    assert (letter, json.loads(payload)["state"]) == ("E", "lost")


def test_a_follower_that_does_not_wait_says_that_there_is_no_more(root, tmp_path):
    folder = made_job(root)
    Path(folder.file("log")).write_bytes(b"0123456789")
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)

    agent.follow(folder, agent.Frames(out), -3, {}, wait=False)
    os.close(out)

    frames = frames_of((tmp_path / "out").read_bytes())
    assert [(letter, payload) for letter, payload in frames if letter in "LT"] == [
        ("L", b"789"),
        ("T", b'{"offset": 10}'),
    ]


def test_a_request_to_stop_is_written_once_and_only_for_the_living(root):
    dead, living = made_job(root, "dead"), made_job(root, "living")
    lock = living.take_lock()

    for reason in ("preemption", "user"):
        agent.request_stop(dead, reason, 1)
        agent.request_stop(living, reason, 1)
    os.close(lock)

    assert agent.read_json(dead.file("cancel.json")) is None
    assert agent.read_json(living.file("cancel.json")) == {"reason": "preemption", "grace": 1}


def test_cancelling_a_dead_job_records_its_loss(root):
    made_job(root)

    assert agent.cancel(root, {"job_id": "job-1"})["state"] == "lost"


def test_starting_waits_for_a_start_under_way(root):
    folder = agent.JobFolder(root, "job-1")
    Path(folder.path).mkdir(parents=True)
    lock = folder.take_lock()
    other = threading.Timer(0.3, agent.write_json, [folder.file("pid.json"), {"pid": 1}])
    other.start()

    assert folder.lock_to_start() is None
    other.join()
    os.close(lock)


def test_a_free_port_lies_outside_the_range_of_clients():
    ports = {agent.free_port("127.0.0.1") for _ in range(5)}

    assert all(20000 <= port < 32768 for port in ports)


def _main(monkeypatch, capfdbinary, root: str, command: str, request: object) -> tuple[int, bytes]:
    monkeypatch.setattr(sys, "stdin", _Stdin(json.dumps(request).encode()))
    code = agent.main(["agent.py", command], root, str(Path(root).parent))
    return code, capfdbinary.readouterr().out


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self) -> bytes:
        return self._data


class _Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = _Bytes(data)


@pytest.mark.parametrize(
    ("command", "request_", "code"),
    [
        ("nonsense", {}, "bad_request"),
        ("cancel", {}, "bad_request"),
        ("cancel", {"job_id": "absent"}, "not_found"),
        ("start", {"spec": {"job_id": "../x"}}, "bad_request"),
    ],
)
def test_a_command_that_makes_no_sense_is_answered_not_raised(
    monkeypatch, capfdbinary, root, command, request_, code
):
    status, out = _main(monkeypatch, capfdbinary, root, command, request_)
    answer = json.loads(out)

    assert (status, answer["ok"], answer["code"]) == (3, False, code)


def test_a_stream_that_cannot_begin_says_so_in_its_frames(monkeypatch, capfdbinary, root):
    status, out = _main(monkeypatch, capfdbinary, root, "logs", {"job_id": "absent"})
    ((letter, payload),) = frames_of(out)

    assert (status, letter, json.loads(payload)["code"]) == (3, "X", "not_found")


def test_plain_commands_answer_in_one_line_of_json(monkeypatch, capfdbinary, root):
    made_job(root)
    answers = [
        json.loads(_main(monkeypatch, capfdbinary, root, command, {})[1])
        for command in ("version", "status", "watcher")
    ]

    assert [answer["ok"] for answer in answers] == [True] * 3
    assert answers[1]["jobs"][0]["state"] == "lost"
    assert answers[2]["watcher"] == {"alive": False}


def test_a_root_that_is_no_folder_is_an_answer_too(monkeypatch, capfdbinary, tmp_path):
    (tmp_path / "file").write_text("x")

    status, out = _main(monkeypatch, capfdbinary, str(tmp_path / "file"), "status", {})

    assert status == 3
    assert json.loads(out)["code"] == "os"
