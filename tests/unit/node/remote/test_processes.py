"""Processes as the node sees them: trees, shells, sessions, and those that are gone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from gpuforge.node.remote import processes, usage
from gpuforge.testing.nodes import eventually


def test_what_a_dead_supervisor_left_is_known_by_its_session_and_time():
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        started = processes.processes()[child.pid].started
        same = processes.leftovers("job-1", {"session": child.pid, "started_ticks": started})
        later = processes.leftovers("job-1", {"session": child.pid, "started_ticks": started + 1})
        child.kill()

    assert (same, later) == ([child.pid], [])


def test_first_programs_are_found_behind_shells_and_scripts(tmp_path):
    script = tmp_path / "run me.sh"
    script.write_text(
        "#!/bin/bash\nsh -c 'sleep 71 & wait' &\n"
        f'{sys.executable} -c \'import subprocess; subprocess.run(["sleep", "72"])\'\n'
    )
    script.chmod(0o755)
    with subprocess.Popen(["bash", "-c", f'"{script}"; true'], start_new_session=True) as shell:
        names = eventually(lambda: _settled(shell.pid))
        programs, shells = processes.first_programs(shell.pid)
        told = sorted(names[pid] for pid in programs)
        os.killpg(shell.pid, 9)

    # bash -> script -> (sh -> sleep 71), (python -> sleep 72)
    assert [name.partition(" ")[0] for name in told] == [sys.executable, "sleep"]
    assert "sleep 72" not in told
    assert len(shells) == 2


def _settled(pid: int) -> dict[int, str] | None:
    names = {}
    for child in processes.descendants(pid):
        with contextlib.suppress(OSError):
            names[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return names if {"sleep 71", "sleep 72"} <= set(names.values()) else None


def test_signals_and_looks_at_processes_that_are_gone_are_harmless():
    processes.send(2**22 + 1, 15)

    assert processes.environment_of(2**22 + 1) == {}
    assert not processes.is_shell(2**22 + 1)
    assert not usage.is_attached(2**22 + 1)
    assert not usage.is_our_command(2**22 + 1)
