"""The node's watcher, ticked by hand: heartbeat, idleness by use, self-deletion, notice, deadline."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gpuforge.node.remote.files import boot_id, read_json, write_json
from gpuforge.node.remote.folder import JobFolder
from gpuforge.node.remote.processes import processes
from gpuforge.node.remote.usage import gpu_utilisation
from gpuforge.node.remote.watcher import Watcher
from gpuforge.testing.nodes import eventually

BUNDLE = "/a home/.gpuforge/agent/hash"


class Service(http.server.ThreadingHTTPServer):
    """A metadata service: answers what it is told to, records what it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        flavour = self.headers.get("Metadata-Flavor", "")
        self.server.asked.append(f"{self.command} {self.path} {flavour}")
        status, body = self.server.answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the base class's names

    def log_message(self, *_args) -> None:
        return


@pytest.fixture
def service(monkeypatch):
    with Service() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


@pytest.fixture
def make(tmp_path):
    """A watcher with a configuration, in a home of its own."""
    root = tmp_path / "home" / ".gpuforge"
    root.mkdir(parents=True)

    def configure(**config) -> Watcher:
        write_json(str(root / "watcher.config.json"), config)
        watcher = Watcher(BUNDLE, str(root), str(root.parent))
        watcher._is_replaced()
        return watcher

    configure.root = root
    return configure


def report(make) -> dict:
    return json.loads((make.root / "watcher.json").read_text())


def call(path: str, method: str = "GET") -> dict:
    url = f"http://$GCE_METADATA_HOST{path}"
    return {"method": method, "url": url, "headers": {"Metadata-Flavor": "Google"}}


def running_job(root: Path, job_id: str = "job-1", grace: float = 20) -> tuple[JobFolder, int]:
    """A job whose lock this process holds."""
    folder = JobFolder(str(root), job_id)
    Path(folder.path).mkdir(parents=True)
    write_json(folder.file("spec.json"), {"grace_seconds": grace})
    write_json(folder.file("pid.json"), {"pid": 2**22 + 1, "boot_id": boot_id()})
    return folder, folder.take_lock()


def test_the_heartbeat_is_written_and_says_when_the_machine_ends(make):
    watcher = make(deadline=2e9, autostop_minutes=20, self_delete=call("/x"))

    watcher.tick(time.time())

    assert report(make)["next_stop"] == 2e9
    assert time.time() - report(make)["heartbeat"] < 60
    assert report(make)["busy"].startswith("CPU")  # nothing to compare with yet


def test_an_idle_machine_deletes_itself_after_its_minutes_and_not_before(make, service):
    service.answers["/delete?now=1"] = (200, b"")
    watcher = make(autostop_minutes=10, self_delete=call("/delete?now=1", "POST"))
    now = time.time()

    for seconds in (0, 20, 320, 610):
        watcher.tick(now + seconds)
    before = list(service.asked)
    watcher.tick(now + 621)

    assert before == []
    assert service.asked == ["POST /delete?now=1 Google"]
    assert report(make)["error"] == ""
    assert report(make)["next_stop"] == pytest.approx(now + 20 + 600)


def test_a_failed_self_deletion_is_reported_and_tried_again_later(make, service):
    watcher = make(autostop_minutes=0, self_delete=call("/refused"))
    now = time.time()

    for seconds in (0, 20, 40, 90):
        watcher.tick(now + seconds)

    assert len(service.asked) == 2
    assert "HTTP 404" in report(make)["error"]


def test_a_machine_that_may_not_delete_itself_waits_for_its_deadline(make, service):
    watcher = make(deadline=2e9, autostop_minutes=0, self_delete=None)
    now = time.time()

    for seconds in (0, 20, 40):
        watcher.tick(now + seconds)

    assert service.asked == []
    assert report(make)["next_stop"] == 2e9


def test_a_running_job_keeps_the_machine_and_the_idle_time_begins_anew(make, service):
    service.answers["/delete"] = (200, b"")
    watcher = make(autostop_minutes=1, self_delete=call("/delete"))
    now = time.time()
    for seconds in (0, 20, 70):
        watcher.tick(now + seconds)

    folder, lock = running_job(make.root)
    watcher.tick(now + 90)
    busy = watcher._busy
    os.close(lock)
    folder.reap()
    for seconds in (100, 150):
        watcher.tick(now + seconds)

    assert busy == "1 job"
    assert service.asked == []
    assert watcher._idle_since == now + 100


def test_use_that_begins_at_the_last_moment_stops_the_deletion(make, service, monkeypatch):
    watcher = make(autostop_minutes=0, self_delete=call("/delete"))
    now = time.time()
    monkeypatch.setattr(watcher, "busy_with", lambda _now: "")
    monkeypatch.setattr(watcher, "in_use", lambda: "an SSH session")

    watcher.tick(now)

    assert service.asked == []
    assert watcher._idle_since is None


def test_work_on_the_cpu_counts_whoever_began_it(make):
    watcher = make()
    environment = {"PATH": os.environ["PATH"], "HOME": str(make.root.parent)}
    argv = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(argv, env=environment) as worker:
        eventually(lambda: processes()[worker.pid].cpu > 5)
        watcher.busy_with(100.0)
        before = processes()[worker.pid].cpu
        eventually(lambda: processes()[worker.pid].cpu > before + 30)

        busy = watcher.busy_with(101.0)
        worker.kill()

    assert busy.startswith("CPU at ")


def test_a_busy_gpu_counts(make, tmp_path, monkeypatch):
    shim = tmp_path / "nvidia-smi"
    shim.write_text("#!/bin/sh\nprintf '0\\n87\\n'\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert gpu_utilisation() == 87
    assert make().busy_with(0.0) == "GPU at 87 %"


def test_a_preemption_notice_reaches_every_job_once(make, service):
    service.answers["/preempted"] = (200, b"FALSE")
    watcher = make(notice=call("/preempted"))
    folder, lock = running_job(make.root)

    watcher.tick(1000.0)
    before = Path(folder.file("notice")).exists()
    service.answers["/preempted"] = (200, b"TRUE\n")
    for now in (1001.0, 1002.0):
        watcher.tick(now)
    asked = len(service.asked)
    later, later_lock = running_job(make.root, "job-2")
    watcher.tick(1003.0)
    for descriptor in (lock, later_lock):
        os.close(descriptor)

    assert not before
    assert asked == 2
    assert read_json(folder.file("notice"))["reason"] == "preemption"
    assert read_json(folder.file("cancel.json"))["reason"] == "preemption"
    assert read_json(later.file("cancel.json"))["reason"] == "preemption"
    assert report(make)["notice"] == 1001.0


def test_a_metadata_service_that_is_away_is_no_notice(make):
    watcher = make(notice={"method": "GET", "url": "http://127.0.0.1:1/x", "headers": {}})

    watcher.tick(1000.0)

    assert watcher._notice is None


def test_jobs_are_told_of_the_deadline_their_grace_ahead(make):
    watcher = make(deadline=2000.0)
    folder, lock = running_job(make.root, grace=20)

    watcher.tick(1974.0)
    before = read_json(folder.file("cancel.json"))
    watcher.tick(1975.0)
    os.close(lock)

    assert before is None
    assert read_json(folder.file("cancel.json")) == {"reason": "deadline", "grace": 20.0}
    assert read_json(folder.file("notice"))["reason"] == "deadline"


def test_the_watcher_records_jobs_whose_supervisor_died(make):
    folder, lock = running_job(make.root)
    os.close(lock)

    make().tick(1000.0)

    assert folder.record["state"] == "lost"


def test_a_watcher_takes_a_new_configuration_and_steps_down_for_a_newer_agent(make):
    watcher = make(deadline=1.0)
    path = str(make.root / "watcher.config.json")
    write_json(path, {"deadline": 2.0, "agent": BUNDLE})

    assert not watcher._is_replaced()
    assert watcher._config["deadline"] == 2.0
    write_json(path, {"deadline": 2.0, "agent": "/another/bundle"})
    assert watcher._is_replaced()
    Path(path).unlink()
    assert watcher._is_replaced()
