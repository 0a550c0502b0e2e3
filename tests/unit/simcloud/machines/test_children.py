"""Every child's exit code is learnt, and orphans that were adopted are buried."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from gpuforge.simcloud.machines.children import Children


def _codes(tmp_path, *scripts):
    async def run():
        children = Children()
        try:
            started = [
                children.start(["sh", "-c", script], environ={"PATH": os.defpath}, folder=tmp_path)
                for script in scripts
            ]
            async with asyncio.timeout(30):
                return [await child.ended for child in started]
        finally:
            children.close()

    return asyncio.run(run())


def test_exit_codes_and_signals_are_told(tmp_path):
    assert _codes(tmp_path, "exit 0", "exit 7", "kill -9 $$", "kill -15 $$") == [0, 7, -9, -15]


def test_many_that_end_at_once_lose_nothing(tmp_path):
    assert _codes(tmp_path, *[f"exit {number}" for number in range(60)]) == list(range(60))


def test_a_program_that_is_not_there_is_an_error(tmp_path):
    async def run():
        children = Children()
        try:
            with pytest.raises(FileNotFoundError):
                children.start(["no-such-program-x"], environ={}, folder=tmp_path)
        finally:
            children.close()

    asyncio.run(run())


def test_a_child_leads_a_session_and_ignores_no_signal(tmp_path):
    async def run():
        children = Children()
        script = "import os, signal, sys; open('out', 'w').write(f'{os.getsid(0) == os.getpid()}')"
        child = children.start([sys.executable, "-c", script], environ={}, folder=tmp_path)
        await child.ended
        children.close()

    asyncio.run(run())
    assert (tmp_path / "out").read_text() == "True"


def test_closing_with_a_child_alive_does_not_wait_for_it(tmp_path):
    code = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from gpuforge.simcloud.machines.children import Children\n"
        "async def run():\n"
        "    children = Children()\n"
        "    child = children.start(['sleep', '60'], environ={'PATH': os.defpath}, folder=Path('.'))\n"
        "    children.close()\n"
        "    os.kill(child.pid, signal.SIGKILL)\n"
        "asyncio.run(run())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=30, check=False)
    assert done.returncode == 0
