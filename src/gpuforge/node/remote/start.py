"""The start of a job: its folder is filled, and a supervisor of its own is forked off."""

from __future__ import annotations

import os
import sys

from .files import AgentError, write_json
from .folder import JobFolder, started
from .processes import detach
from .records import make_record
from .supervisor import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .files import Json

_PROLOGUE = """\
unset BASH_ENV
__gpuforge_cwd=$PWD
if [ -f ~/.bashrc ]; then . ~/.bashrc; fi
__gpuforge_conda=$(command -v conda)
if [ -f "${__gpuforge_conda%/*/*}/etc/profile.d/conda.sh" ]; then
  . "${__gpuforge_conda%/*/*}/etc/profile.d/conda.sh"
fi
export PYTHONUNBUFFERED=1
cd "$__gpuforge_cwd"
unset __gpuforge_cwd __gpuforge_conda
"""


def start(root: str, home: str, request: Json) -> Json:
    """Start a job under a supervisor of its own; a job that was started before is left alone.

    The supervisor never returns from here: it ends with its process.
    """
    spec = dict(request["spec"])
    secrets = {"env": spec.pop("secrets", {}), "token": spec.pop("token", "")}
    folder = JobFolder(root, str(spec["job_id"]))
    os.makedirs(folder.path, 0o700, exist_ok=True)
    lock = folder.lock_to_start()
    if lock is None:
        return started(folder, already=True)
    try:
        write_json(folder.file("spec.json"), spec)
        folder.reserve()
        _write_scripts(folder, spec)
    except OSError as error:
        os.close(lock)
        raise AgentError("start", f"job {folder.job_id} cannot be stored here: {error.strerror}") from error
    reader, writer = os.pipe()
    sys.stdout.flush()
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.close(reader)
        _supervise(folder, home, spec, secrets, lock, writer)
        sys.exit(0)
    os.close(writer)
    os.close(lock)
    os.waitpid(first, 0)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    if answer != b"ok":
        raise AgentError("start", answer.decode(errors="replace") or "the job's supervisor did not start")
    return started(folder, already=False)


def _write_scripts(folder: JobFolder, spec: Json) -> None:
    scripts = {"prologue.sh": _PROLOGUE, "setup.sh": spec.get("setup", ""), "run.sh": spec.get("run", "")}
    for name, text in scripts.items():
        with open(folder.file(name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(folder.file(name), 0o600)


def _supervise(folder: JobFolder, home: str, spec: Json, secrets: Json, lock: int, writer: int) -> None:
    """The life of a job's supervisor, in its own process."""
    detach(folder.file("supervisor.log"), keep={lock, writer})
    try:
        supervisor = Supervisor(folder, home, spec, secrets)
        supervisor.arrive()
    except (OSError, ValueError, AgentError) as error:
        os.write(writer, f"job {folder.job_id} could not be started: {error}".encode())
        os.close(writer)
        return
    os.write(writer, b"ok")
    os.close(writer)
    try:
        record = supervisor.live()
    except Exception as error:  # noqa: BLE001 - the agent's one loop: whatever happens, the job's end is recorded
        import traceback

        traceback.print_exc()
        supervisor.kill_everything()
        record = make_record(
            supervisor.rank, "failed", phase="start", cause=f"the agent failed: {error!r}", exit_code=70
        )
    folder.claim(record)
    supervisor.linger()
    os.close(lock)
