"""Jobs on one node: real agents, supervisors and process trees, in a folder that plays the machine's home."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpuforge import jobs
from gpuforge.errors import JobError
from gpuforge.models.job import JobSpec, JobState
from gpuforge.redact import Secret
from gpuforge.testing.nodes import eventually, local_cluster, local_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuforge.models.job import ExitRecord
    from gpuforge.node.client import NodeClient

HOSTILE = "sp ace 'quote' \"double\" $HOME `id` ; echo gone\nnew\tline é☃\\"


@pytest.fixture
def node(tmp_path) -> Iterator[NodeClient]:
    """One node; whatever still runs there at the end is cancelled."""
    (client,) = local_nodes(tmp_path, 1)
    yield client
    for job in client.status():
        client.cancel(job.job_id, grace_seconds=0)


def home_of(node: NodeClient) -> Path:
    return node.transport.home


def job_folder(node: NodeClient, job_id: str) -> Path:
    return home_of(node) / ".gpuforge" / "jobs" / job_id


def spec_of(run: str, **changes) -> JobSpec:
    base = JobSpec(job_id="job-1", name="a job", setup="", run=run, grace_seconds=5)
    return replace(base, **changes)


def finish(node: NodeClient, spec: JobSpec) -> tuple[bytes, ExitRecord]:
    """Run to the end: everything printed, and the exit record."""
    stream = jobs.run([node], spec, cluster=local_cluster(1))
    output = b"".join(chunk.data for chunk in stream)
    return output, stream.records[0]


def begin(node: NodeClient, spec: JobSpec, *, until: str = "ready") -> None:
    """Start, and wait until the job has printed ``until``."""
    jobs.launch([node], spec, cluster=local_cluster(1))
    log = job_folder(node, spec.job_id) / "log"
    eventually(lambda: until.encode() in log.read_bytes())


def living(marker: str) -> list[int]:
    """Processes whose command line holds ``marker``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            if marker.encode() in line and state != b"Z":
                found.append(int(entry.name))
    return found


def test_a_job_that_succeeds_leaves_its_output_and_one_record(node):
    output, record = finish(node, spec_of("echo hi"))

    assert output == b"hi\n"
    assert (record.state, record.exit_code, record.phase, record.cause) == (
        JobState.SUCCEEDED,
        0,
        "run",
        "",
    )


def test_the_exit_code_of_run_is_kept(node):
    _, record = finish(node, spec_of("exit 3"))

    assert (record.state, record.exit_code, record.signal, record.cause) == (
        JobState.FAILED,
        3,
        None,
        "exit 3",
    )


def test_a_job_killed_by_a_signal_says_which(node):
    _, record = finish(node, spec_of("bash -c 'kill -9 $$'; exit $?"))

    assert (record.exit_code, record.signal) == (137, 9)
    assert record.cause == "killed by SIGKILL (out of memory?)"


def test_a_shell_killed_by_a_signal_says_which(node):
    _, record = finish(node, spec_of("kill -SEGV $$; sleep 60"))

    assert (record.exit_code, record.signal, record.cause) == (139, 11, "killed by SIGSEGV")


def test_setup_runs_first_and_its_failure_ends_the_job(node):
    output, record = finish(node, spec_of("echo never", setup="echo preparing; exit 4"))

    assert output == b"preparing\n"
    assert (record.phase, record.exit_code, record.cause) == ("setup", 4, "setup failed: exit 4")


def test_run_follows_a_setup_that_succeeds_in_the_same_folder(node):
    output, record = finish(
        node, spec_of("cat made; pwd; cd ~/sky_workdir; pwd -P", setup="echo here > made")
    )

    workdir = str(home_of(node) / "workdir")
    assert output.decode().splitlines() == ["here", workdir, workdir]
    assert record.exit_code == 0


def test_output_is_exact_with_carriage_returns_and_binary(node):
    noise = bytes(range(256)) * 3 + b"10%\r20%\r100%\r\n\x00\xff no newline at the end"
    (home_of(node) / "noise").write_bytes(noise)

    output, _ = finish(node, spec_of("cat ~/noise; cat ~/noise >&2"))

    assert output == noise * 2


def test_writing_to_dev_stderr_does_not_cut_the_log(node):
    output, _ = finish(node, spec_of("echo one; echo two > /dev/stderr; echo three"))

    assert output == b"one\ntwo\nthree\n"


def test_stdin_is_empty_and_holds_no_script(node):
    output, record = finish(node, spec_of('cat; read -r line; echo "[$line]"; cat | wc -c'))

    assert output.split() == [b"[]", b"0"]
    assert record.exit_code == 0


def test_a_phase_ends_with_its_shell_though_a_child_keeps_the_pipe_open(node):
    output, record = finish(node, spec_of("sleep 6781 & echo done"))

    assert output == b"done\n"
    assert record.state is JobState.SUCCEEDED
    assert living("6781") == []


def test_what_setup_leaves_running_is_there_in_run_and_gone_after_it(node):
    setup = "sleep 6782 & echo $! > ~/pid"
    output, record = finish(node, spec_of("kill -0 $(cat ~/pid) && echo alive", setup=setup))

    assert output == b"alive\n"
    assert record.state is JobState.SUCCEEDED
    assert living("6782") == []


def test_a_script_may_be_long_and_keeps_its_line_numbers(node):
    script = "\n".join([": filler"] * 20_000 + ["echo $LINENO"])

    output, _ = finish(node, spec_of(script))

    assert output == b"20001\n"


def test_bashrc_is_read_and_does_not_move_the_job(node):
    (home_of(node) / ".bashrc").write_text("export FROM_RC=yes\ncd /\n")

    output, _ = finish(node, spec_of("echo $FROM_RC $PWD $PYTHONUNBUFFERED [$BASH_ENV]"))

    assert output.decode().split() == ["yes", str(home_of(node) / "workdir"), "1", "[]"]


def test_values_reach_the_job_unchanged(node):
    spec = spec_of(
        'printf "%s|%s" "$PLAIN" "$HIDDEN"',
        envs={"PLAIN": HOSTILE},
        secrets={"HIDDEN": Secret(HOSTILE + "2")},
    )

    output, _ = finish(node, spec)

    assert output.decode() == f"{HOSTILE}|{HOSTILE}2"


def test_a_secret_is_in_no_file_and_in_no_command_line(node):
    spec = spec_of(
        "echo ready; sleep 60", secrets={"TOKEN": Secret("s3cr3t-v4lue")}, envs={"OPEN": "visible"}
    )
    begin(node, spec)

    listing = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, check=True).stdout
    files = [path for path in (home_of(node) / ".gpuforge").rglob("*") if path.is_file()]

    assert b"s3cr3t-v4lue" not in listing
    assert [path for path in files if b"s3cr3t-v4lue" in path.read_bytes()] == []
    assert json.loads((job_folder(node, "job-1") / "spec.json").read_text())["envs"] == {"OPEN": "visible"}


def test_the_environment_names_the_node_and_the_run(node):
    spec = spec_of('env; [ -d "$GPUFORGE_CHECKPOINT_DIR" ] && echo CHECKPOINTS=there', name="My Task")
    output, _ = finish(node, spec)
    env = dict(line.split("=", 1) for line in output.decode().splitlines() if "=" in line)

    assert env["GPUFORGE_NODE_RANK"] == "0"
    assert env["GPUFORGE_NUM_NODES"] == "1"
    assert env["GPUFORGE_RUN_ID"] == "job-1"
    assert env["GPUFORGE_CHECKPOINT_DIR"] == str(home_of(node) / "checkpoints" / "my-task")
    assert env["SKYPILOT_NODE_IPS"] == "127.0.91.1"
    assert env["CHECKPOINTS"] == "there"
    assert env.keys().isdisjoint({"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "PET_NNODES"})


def test_the_same_id_twice_starts_once(node):
    spec = spec_of("echo x >> ~/count; sleep 0.2")
    first, second = (jobs.run([node], spec, cluster=local_cluster(1)) for _ in range(2))

    outputs = [b"".join(chunk.data for chunk in stream) for stream in (first, second)]
    finish(node, spec)

    assert outputs == [b"", b""]
    assert (home_of(node) / "count").read_text() == "x\n"
    assert len(jobs.list_jobs([node])) == 1


def test_many_starts_of_one_id_at_once_start_once(node):
    node.ensure()
    spec = spec_of("echo x >> ~/count; sleep 0.5")
    threads = [threading.Thread(target=finish, args=(node, spec)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (home_of(node) / "count").read_text() == "x\n"


def test_jobs_wait_for_their_turn_in_order_of_arrival(node):
    order = home_of(node) / "order"
    begin(node, spec_of("echo ready; while [ ! -e ~/go ]; do sleep 0.05; done; echo 1 >> ~/order"))
    for number in (2, 3):
        spec = spec_of(f"echo {number} >> ~/order", job_id=f"job-{number}")
        jobs.launch([node], spec, cluster=local_cluster(1))

    waiting = [job.state for job in jobs.list_jobs([node])]
    (home_of(node) / "go").touch()
    eventually(lambda: all(job.state.is_final for job in jobs.list_jobs([node])))

    assert waiting == [JobState.RUNNING, JobState.QUEUED, JobState.QUEUED]
    assert order.read_text().split() == ["1", "2", "3"]
    assert [job.alias for job in jobs.list_jobs([node])] == [1, 2, 3]


def test_a_queued_job_can_be_cancelled_and_does_not_hold_up_the_next(node):
    begin(node, spec_of("echo ready; while [ ! -e ~/go ]; do sleep 0.05; done"))
    for number in (2, 3):
        spec = spec_of(f"echo {number} >> ~/order", job_id=f"job-{number}")
        jobs.launch([node], spec, cluster=local_cluster(1))

    status = jobs.cancel([node], "job-2")
    (home_of(node) / "go").touch()
    eventually(lambda: jobs.job_status([node], "job-3").state.is_final)

    assert (status.state, status.cause) == (JobState.CANCELLED, "cancelled")
    assert (home_of(node) / "order").read_text() == "3\n"


def test_cancel_tells_the_trainer_once_and_not_its_workers(node):
    (home_of(node) / "trainer.py").write_text(
        "import os, signal, subprocess, sys, time\n"
        "told = []\n"
        "def tell(*_): told.append(1)\n"
        "signal.signal(signal.SIGTERM, tell)\n"
        "if len(sys.argv) == 1:\n"
        "    worker = subprocess.Popen([sys.executable, __file__, 'worker'], stdout=subprocess.PIPE)\n"
        "    worker.stdout.readline()\n"
        "    print('ready', flush=True)\n"
        "    while not told: time.sleep(0.02)\n"
        "    time.sleep(0.3)\n"
        "    print('trainer', len(told), 'worker alive', worker.poll() is None, flush=True)\n"
        "    worker.kill()\n"
        "else:\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
        "    print('worker was told', len(told), file=sys.stderr)\n"
    )
    (home_of(node) / "run.sh").write_text("#!/bin/bash\npython3 ~/trainer.py\necho next command\n")
    begin(node, spec_of("bash ~/run.sh; echo after"))

    status = jobs.cancel([node], "job-1")
    output = (job_folder(node, "job-1") / "log").read_text()

    assert "trainer 1 worker alive True" in output
    assert "worker was told" not in output
    assert "next command" not in output
    assert "after" not in output
    assert status.state is JobState.CANCELLED


def test_cancel_kills_after_the_grace_what_does_not_listen(node):
    begin(node, spec_of("trap '' TERM; (trap '' TERM; sleep 6783) & echo ready; sleep 6783"))

    status = jobs.cancel([node], "job-1", grace_seconds=0)

    assert living("6783") == []
    assert status.state is JobState.CANCELLED


def test_cancel_finds_a_daemon_that_left_session_and_parent(node):
    daemon = (
        "import os, signal, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', os.getpid(), flush=True)\n"
        "time.sleep(6784)\n"
    )
    (home_of(node) / "daemon.py").write_text(daemon)
    begin(node, spec_of("python3 ~/daemon.py; sleep 60"))

    jobs.cancel([node], "job-1", grace_seconds=0)

    assert living(str(home_of(node) / "daemon.py")) == []


def test_cancel_leaves_a_job_that_has_ended_as_it_is(node):
    finish(node, spec_of("exit 3"))

    assert jobs.cancel([node], "job-1").exit_code == 3


def test_a_time_limit_ends_the_job_with_75(node):
    _, record = finish(node, spec_of("sleep 60", timeout_seconds=1))

    assert (record.state, record.exit_code) == (JobState.FAILED, 75)
    assert record.cause == "ran longer than its limit of 1 s"


def test_a_job_whose_supervisor_was_killed_is_lost_and_leaves_nothing(node):
    begin(node, spec_of("echo ready; setsid sleep 6785 & sleep 6785"))
    pid = json.loads((job_folder(node, "job-1") / "pid.json").read_text())["pid"]

    os.kill(pid, signal.SIGKILL)
    status = eventually(lambda: (s := jobs.job_status([node], "job-1")).state.is_final and s)

    assert (status.state, status.cause, status.exit_code) == (JobState.LOST, "its supervisor was killed", 137)
    assert living("6785") == []
    assert jobs.job_status([node], "job-1").ended == status.ended


def test_a_job_of_before_the_reboot_is_lost_and_says_so(node):
    begin(node, spec_of("echo ready; sleep 60"))
    identity = job_folder(node, "job-1") / "pid.json"
    facts = json.loads(identity.read_text())
    os.kill(facts["pid"], signal.SIGKILL)
    identity.write_text(json.dumps({**facts, "boot_id": "an earlier boot"}))

    status = eventually(lambda: (s := jobs.job_status([node], "job-1")).state.is_final and s)

    assert status.cause == "the machine was rebooted"


def test_a_lost_job_is_not_started_again(node):
    begin(node, spec_of("echo ready; sleep 60"))
    os.kill(json.loads((job_folder(node, "job-1") / "pid.json").read_text())["pid"], signal.SIGKILL)
    eventually(lambda: jobs.job_status([node], "job-1").state.is_final)

    output, record = finish(node, spec_of("echo ready; sleep 60"))

    assert (output, record.state) == (b"ready\n", JobState.LOST)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can only be mounted by root")
def test_a_full_disk_does_not_lose_the_exit_code(tmp_path):
    (node,) = local_nodes(tmp_path, 1)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path / "node0")], check=False
    )
    if mounted.returncode:
        pytest.skip("this kernel mounts no tmpfs here")
    try:
        node.ensure()
        fill = "cat /dev/zero > ~/fill 2>/dev/null; head -c 200000 /dev/urandom; exit 9"
        output, record = finish(node, spec_of(fill))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "node0")], check=True)

    assert record.exit_code == 9
    assert record.cause == "exit 9; the log is incomplete: the disk is full"
    assert len(output) < 200_000


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can only be mounted by root")
def test_a_job_is_refused_where_its_record_would_have_no_room(tmp_path):
    (node,) = local_nodes(tmp_path, 1)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path / "node0")], check=False
    )
    if mounted.returncode:
        pytest.skip("this kernel mounts no tmpfs here")
    try:
        node.ensure()
        subprocess.run(["dd", "if=/dev/zero", f"of={tmp_path}/node0/fill"], check=False, capture_output=True)
        with pytest.raises(JobError, match="No space left on device"):
            finish(node, spec_of("echo never"))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "node0")], check=True)


def test_an_unknown_job_is_an_error_of_ours(node):
    with pytest.raises(JobError, match="no job job-9"):
        jobs.job_status([node], "job-9")
    with pytest.raises(JobError, match="no job job-9"):
        list(jobs.stream([node], "job-9"))
    with pytest.raises(JobError, match="no job job-9"):
        jobs.cancel([node], "job-9")


def test_a_hostile_job_id_is_refused(node):
    with pytest.raises(JobError, match="is not a job id"):
        list(jobs.stream([node], "../../etc"))


def test_logs_without_following_stop_at_what_is_there(node):
    begin(node, spec_of("echo ready; sleep 60"))

    chunks = list(jobs.stream([node], "job-1", follow=False))

    assert b"".join(chunk.data for chunk in chunks) == b"ready\n"


def test_logs_can_begin_anywhere_also_counted_from_the_end(node):
    finish(node, spec_of("echo 0123456789"))

    middle = list(jobs.stream([node], "job-1", offsets={0: 4}))
    tail = list(jobs.stream([node], "job-1", offsets={0: -3}))

    assert [(chunk.offset, chunk.data) for chunk in middle if chunk.data] == [(4, b"456789\n")]
    assert [(chunk.offset, chunk.data) for chunk in tail if chunk.data] == [(8, b"89\n")]


def test_a_large_log_arrives_whole(node):
    stream = jobs.run([node], spec_of("head -c 40000000 /dev/zero"), cluster=local_cluster(1))

    sizes = [(chunk.offset, len(chunk.data)) for chunk in stream if chunk.data]

    assert sum(size for _, size in sizes) == 40_000_000
    assert max(size for _, size in sizes) <= 256 * 1024
    assert [offset for offset, _ in sizes[1:]] == list(accumulate(size for _, size in sizes))[:-1]
