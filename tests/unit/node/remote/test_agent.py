"""The agent's entry: every command is answered in one piece; and what the package may be made of.

Whole jobs are in ``tests/simulated/test_jobs*.py``.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpuforge.node.client import NodeClient
from gpuforge.node.remote import agent
from gpuforge.testing.local import LocalTransport

MODULES = sorted(Path(agent.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_each_module_is_python_3_8_and_imports_the_standard_library_and_its_siblings_alone(module):
    tree = ast.parse(module.read_text(), feature_version=(3, 8))
    absolute, siblings = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            absolute |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            absolute.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            siblings |= {node.module} if node.module else {alias.name for alias in node.names}

    assert absolute <= set(sys.stdlib_module_names)
    assert siblings <= {path.stem for path in MODULES}


@pytest.mark.parametrize("command", ["version", "status", "watcher"])
def test_a_look_loads_neither_what_jobs_need_nor_what_the_network_needs(tmp_path, command):
    client = NodeClient(LocalTransport(tmp_path, environ={"PATH": os.environ["PATH"]}))
    client.push()
    code = (
        "import sys; sys.path.append(sys.argv[1]); from gpuforge_node import agent\n"
        "agent.main(sys.argv[1:], agent.Place(sys.argv[1]))\n"
        "print(*(name.rpartition('.')[2] for name in sys.modules))"
    )
    argv = [sys.executable, "-I", "-S", "-c", code, str(tmp_path / client.folder), command]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    answer, loaded = done.stdout.splitlines()

    assert json.loads(answer)["ok"]
    assert not {"supervisor", "head", "member", "watcher", "receiver"} & set(loaded.split())
    assert not {"typing", "socket", "ctypes", "subprocess", "http"} & set(loaded.split())


def _main(monkeypatch, capfdbinary, root: str, command: str, request: object) -> tuple[int, bytes]:
    monkeypatch.setattr(sys, "stdin", _Stdin(json.dumps(request).encode()))
    code = agent.main(["agent", command], agent.Place(f"{root}/agent/hash"))
    return code, capfdbinary.readouterr().out


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self) -> bytes:
        return self._data


class _Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = _Bytes(data)


@pytest.mark.parametrize(
    ("command", "request_", "code"),
    [
        ("nonsense", {}, "bad_request"),
        ("cancel", {}, "bad_request"),
        ("cancel", {"job_id": "absent"}, "not_found"),
        ("start", {"spec": {"job_id": "../x"}}, "bad_request"),
    ],
)
def test_a_command_that_makes_no_sense_is_answered_not_raised(
    monkeypatch, capfdbinary, root, command, request_, code
):
    status, out = _main(monkeypatch, capfdbinary, root, command, request_)
    answer = json.loads(out)

    assert (status, answer["ok"], answer["code"]) == (3, False, code)


def frames_of(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[1:5], "big")
        found.append((data[:1].decode(), data[5 : 5 + length]))
        data = data[5 + length :]
    return found


def test_a_stream_that_cannot_begin_says_so_in_its_frames(monkeypatch, capfdbinary, root):
    status, out = _main(monkeypatch, capfdbinary, root, "logs", {"job_id": "absent"})
    ((letter, payload),) = frames_of(out)

    assert (status, letter, json.loads(payload)["code"]) == (3, "X", "not_found")


def test_plain_commands_answer_in_one_line_of_json(monkeypatch, capfdbinary, made_job, root):
    made_job()
    answers = [
        json.loads(_main(monkeypatch, capfdbinary, root, command, {})[1])
        for command in ("version", "status", "watcher")
    ]

    assert [answer["ok"] for answer in answers] == [True] * 3
    assert answers[1]["jobs"][0]["state"] == "lost"
    assert answers[2]["watcher"] == {"alive": False}


def test_a_root_that_is_no_folder_is_an_answer_too(monkeypatch, capfdbinary, tmp_path):
    (tmp_path / "file").write_text("x")

    status, out = _main(monkeypatch, capfdbinary, str(tmp_path / "file"), "status", {})

    assert status == 3
    assert json.loads(out)["code"] == "os"
