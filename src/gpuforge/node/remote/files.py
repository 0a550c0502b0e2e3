"""Small files, read and replaced whole, and the error a client is answered with."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    Json = Dict[str, Any]


class AgentError(Exception):
    """What went wrong, for the client: ``code`` is the kind."""

    def __init__(self, code: str, brief: str, resolution: str = "") -> None:
        super().__init__(brief)
        self.code = code
        self.resolution = resolution


def read_json(path: str) -> Optional[Json]:
    """The file's content; ``None`` when it is not there or not whole."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: str, value: Json) -> None:
    """Replace the file whole."""
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(descriptor, json.dumps(value).encode())
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def write_all(descriptor: int, data: bytes) -> None:
    """``os.write`` until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def boot_id() -> str:
    """Changes with every boot; empty where the system has none.

    A simulated machine boots without its kernel doing so, and says it in its environment.
    """
    simulated = os.environ.get("GPUFORGE_BOOT_ID")
    if simulated:
        return simulated
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
