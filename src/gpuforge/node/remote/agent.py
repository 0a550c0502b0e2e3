"""The agent's entry: one command of the client's, JSON on stdin, the answer on stdout.

Each command imports its parts of the package when it is called.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from .files import AgentError, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List

    from .files import Json

VERSION = 1


class Place:
    """Where the agent works: ``bundle`` is ``<root>/agent/<hash>``, the folder it was pushed to."""

    __slots__ = ("bundle", "home", "root")

    def __init__(self, bundle: str) -> None:
        self.bundle = os.path.abspath(bundle)
        self.root = os.path.dirname(os.path.dirname(self.bundle))
        self.home = os.environ.get("HOME") or os.path.dirname(self.root)


def run(bundle: str) -> None:
    """Run the command line of this process."""
    sys.exit(main(sys.argv, Place(bundle)))


def main(argv: List[str], place: Place) -> int:
    """Run one command; returns its exit status."""
    command = argv[1] if len(argv) > 1 else ""
    streams = command in ("run", "logs")
    try:
        if command == "watcher-loop":
            from .watch import watcher_loop

            watcher_loop(place.bundle, place.root, place.home)
            return 0
        data = sys.stdin.buffer.read()
        request = json.loads(data) if data.strip() else {}
        if streams:
            _stream(command, place, request)
        else:
            answer = _answer(command, place, request)
            sys.stdout.write(json.dumps(dict(answer, ok=True)) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody listens: say nothing at exit either
        return 1
    except (AgentError, OSError, KeyError, ValueError) as error:
        _complain(error, frames=streams)
        return 3
    return 0


def _stream(command: str, place: Place, request: Json) -> None:
    from .folder import JobFolder, started
    from .frames import Frames, follow

    frames = Frames(1)
    if command == "run":
        job = _start(place, request)
        folder = JobFolder(place.root, str(job["job_id"]))
    else:
        folder = JobFolder(place.root, str(request["job_id"]))
        job = started(folder, already=True)
    follow(folder, frames, int(request.get("offset", 0)), job, wait=bool(request.get("follow", True)))


def _start(place: Place, request: Json) -> Json:
    from .start import start

    return start(place.root, place.home, request)


def _status(place: Place, request: Json) -> Json:
    from .folder import list_status

    return {"jobs": list_status(place.root, request.get("job_ids"))}


def _cancel(place: Place, request: Json) -> Json:
    from .cancel import cancel

    return {"job": cancel(place.root, request)}


def _watch(place: Place, request: Json) -> Json:
    from .watch import watch

    return {"watcher": watch(place.bundle, place.root, place.home, request)}


def _watcher(place: Place, _request: Json) -> Json:
    from .watch import watcher_status

    return {"watcher": watcher_status(place.root)}


def _version(_place: Place, _request: Json) -> Json:
    return {"version": VERSION, "python": list(sys.version_info[:3])}


_ANSWERS: Dict[str, Callable[[Place, Json], Json]] = {
    "start": _start,
    "status": _status,
    "cancel": _cancel,
    "watch": _watch,
    "watcher": _watcher,
    "version": _version,
}


def _answer(command: str, place: Place, request: Json) -> Json:
    if command not in _ANSWERS:
        raise AgentError("bad_request", f"the agent has no command {command!r}")
    return _ANSWERS[command](place, request)


def _complain(error: Exception, *, frames: bool) -> None:
    if isinstance(error, AgentError):
        answer = {"code": error.code, "brief": str(error), "resolution": error.resolution}
    elif isinstance(error, OSError):
        answer = {"code": "os", "brief": f"the agent could not work: {error}", "resolution": ""}
    else:
        answer = {
            "code": "bad_request",
            "brief": f"the agent did not understand: {error!r}",
            "resolution": "",
        }
    with contextlib.suppress(OSError):
        if frames:
            from .frames import Frames

            Frames(1).send_json(b"X", answer)
        else:
            write_all(1, json.dumps(dict(answer, ok=False)).encode() + b"\n")
