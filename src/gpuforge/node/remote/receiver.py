"""The receiver's entry: the node's end of copies, a program of its own which needs nothing of the agent.

:mod:`gpuforge.sync` imports the wire format (:mod:`.wire`), the safe tree (:mod:`.tree`) and both ends of a
stream (:mod:`.outgoing`, :mod:`.incoming`) from this package, so each exists once.
"""

from __future__ import annotations

import gc
import os


def main() -> int:
    """Serve over stdin and stdout; the first byte out says that this program is there."""
    os.write(1, b"+")
    from .session import Session  # its parts load while that byte travels
    from .wire import CHUNK

    gc.disable()  # a short life, and many small values that never form cycles
    os.umask(0)  # modes are set as they were sent, at creation
    source = open(0, "rb", buffering=CHUNK, closefd=False)  # noqa: SIM115 - open until the process ends
    target = open(1, "wb", buffering=CHUNK, closefd=False)  # noqa: SIM115
    return Session(source, target, os.path.expanduser("~")).serve()
