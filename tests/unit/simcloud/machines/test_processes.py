"""A machine's processes are found by marker and ancestry, killed to the last one, and nobody else's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import pytest

from gpuforge.simcloud.machines import processes
from gpuforge.testing.machines import wait_until

# double fork, new session: re-parented at once, as a daemon is
_DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(300)
    os._exit(0)
os.wait()
"""


def _process(pid, parent, environ=b"", session=0, name="x"):
    return processes.Process(pid=pid, parent=parent, session=session, name=name, environ=environ)


def test_descendants_are_found_through_every_generation():
    table = [_process(2, 1), _process(3, 2), _process(4, 3), _process(9, 8)]
    assert processes.descendants(table, [1]) == {2, 3, 4}


def test_a_marker_must_match_whole_and_brings_what_is_below():
    own = b"A=b\0GPUFORGE_MACHINE_ID=7-ab\0"
    table = [
        _process(2, 1, own),
        _process(3, 2),  # cleared its environment
        _process(4, 1, b"GPUFORGE_MACHINE_ID=7-abc\0"),
        _process(5, 1, b"XGPUFORGE_MACHINE_ID=7-ab\0"),
    ]
    assert processes.marked(table, "7-ab") == {2, 3}


def test_kill_all_ends_a_daemon_and_a_process_that_ignores_terminate(tmp_path):
    marker = f"77-{os.urandom(8).hex()}"
    environ = os.environ | {processes.MARKER: marker}
    file = tmp_path / "pid"
    subprocess.run([sys.executable, "-c", _DAEMON, str(file)], env=environ, check=True)
    stubborn = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], env=environ)
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        wait_until(lambda: file.exists() and file.read_text(), what="the daemon")

        def find():
            return processes.marked(processes.process_table(), marker)

        wait_until(lambda: len(find()) >= 2, what="both processes")
        assert processes.kill_all(find, on_pass=stubborn.poll) >= 2
        assert find() == set()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        stubborn.wait()


def test_kill_all_gives_up_on_what_does_not_die():
    began = time.monotonic()
    # the pid of nobody: it stays in the list for ever
    nobody = 2**22 + 5
    assert processes.kill_all(lambda: {nobody}, patience_seconds=0.05) == 1
    assert time.monotonic() - began >= 0.05


def test_kill_all_never_kills_the_caller():
    assert processes.kill_all(lambda: {os.getpid()}, patience_seconds=0.05) == 0


def test_start_ticks_name_one_process_and_none_that_is_gone():
    child = subprocess.Popen(["true"])
    assert processes.start_ticks(os.getpid())
    child.wait()
    assert processes.start_ticks(child.pid) is None


def test_a_process_with_brackets_and_spaces_in_its_name_is_read(tmp_path):
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "60"])
    try:
        row = wait_until(
            lambda: [r for r in processes.process_table() if r.pid == child.pid and r.name.startswith("a)")],
            what="the program",
        )[0]
        assert row.parent == os.getpid()
    finally:
        child.kill()
        child.wait()


def test_zombies_are_left_out():
    child = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.pid not in {row.pid for row in processes.process_table()}
    finally:
        child.wait()


def test_the_table_can_come_from_ps():
    environ = os.environ | {processes.MARKER: "5-feedfeedfeedfeed"}
    child = subprocess.Popen(["sleep", "60"], env=environ)
    argv = ["ps", "axeww", "-o", "pid=,ppid=,sess=,command="]  # procps shows the environment with `e`
    try:
        with contextlib.suppress(FileNotFoundError):
            found = wait_until(
                lambda: processes.marked(processes.table_from_ps(argv), "5-feedfeedfeedfeed"),
                what="the marked process in ps",
            )
            assert child.pid in found
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="subreapers are Linux's")
def test_a_subreaper_adopts_orphans():
    code = (
        "import os, time\n"
        "from gpuforge.simcloud.machines import processes\n"
        "assert processes.become_subreaper()\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(0.2)\n"
        "    os._exit(0)\n"
        "os.wait(); os.wait()\n"
        "print('adopted')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "adopted\n", done.stderr
