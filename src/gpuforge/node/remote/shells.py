"""The shell of one phase of a job: where it runs, with which environment, and its fork."""

from __future__ import annotations

import contextlib
import os
import signal

from .processes import MARKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional

    from .files import Json
    from .folder import JobFolder


def spawn(
    folder: JobFolder, home: str, spec: Json, phase: str, environment: Dict[str, str], output: int
) -> int:
    """Start the phase's script, its words going to ``output``; returns its pid."""
    workdir = os.path.join(home, spec.get("workdir", "workdir"))
    os.makedirs(workdir, exist_ok=True)
    with contextlib.suppress(OSError):
        os.symlink(os.path.relpath(workdir, home), os.path.join(home, "sky_workdir"))
    os.makedirs(environment["GPUFORGE_CHECKPOINT_DIR"], exist_ok=True)
    argv = ["bash", folder.file(f"{phase}.sh")]
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(workdir)
        os.execvpe("bash", argv, environment)  # noqa: S606 - bash is the shell
    except OSError as error:
        os.write(2, f"gpuforge: cannot start bash in {workdir}: {error}\n".encode())
    finally:
        os._exit(126)


def environment_for(
    folder: JobFolder, home: str, spec: Json, secrets: Json, phase: str, port: Optional[int]
) -> Dict[str, str]:
    """What the phase's shell finds in its environment; what comes later in the list below wins."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("SSH_")}
    ports = {} if port is None else dict.fromkeys(spec.get("port_variables", ()), str(port))
    checkpoints = os.path.join(home, "checkpoints", spec.get("checkpoints") or "job")
    return {
        **inherited,
        **spec.get("envs", {}),
        **secrets["env"],
        **spec.get("env", {}),
        **spec.get(f"{phase}_env", {}),
        **(ports if phase == "run" else {}),
        "PYTHONUNBUFFERED": "1",
        "BASH_ENV": folder.file("prologue.sh"),
        "GPUFORGE_CHECKPOINT_DIR": checkpoints,
        "GPUFORGE_NOTICE_FILE": folder.file("notice"),
        "GPUFORGE_JOB_ID": folder.job_id,
        MARKER: folder.path,
    }
