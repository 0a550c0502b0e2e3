"""The receiver as a program of its own: on old Pythons, and no more of it than a copy needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import blake2b

import pytest

from gpuforge.node.client import agent_files
from gpuforge.node.remote.entries import encode, state_digest, tree_digest
from gpuforge.node.remote.wire import message

RUN = "import sys; sys.path.append(sys.argv[1]); from gpuforge_node import receiver; code = receiver.main()\n"


@pytest.fixture
def package(tmp_path):
    """The package as it lies on a node."""
    for name, text in agent_files().items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def receive(package, home):
    """Run the receiver on what a client says; its answer without the first byte, and stderr."""

    def call(*frames: bytes, python: str = sys.executable, after: str = "sys.exit(code)"):
        done = subprocess.run(
            [python, "-I", "-S", "-c", RUN + after, str(package)],
            input=b"".join(frames),
            capture_output=True,
            check=False,
            env={"HOME": str(home)},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout[:1] == b"+"
        return done.stdout[1:], done.stderr

    return call


def first_copy(hand) -> tuple[str, list[bytes]]:
    """What a first push of one file says, and the tree it makes."""
    tree = tree_digest([hand.file._replace(extra=blake2b(b"data", digest_size=16).hexdigest().encode())])
    finish = message(b"Z", {"tree": tree, "pairs": []})
    return tree, [
        hand.hello(),
        hand.manifest(hand.file),
        hand.orders(),
        hand.small(0, b"data"),
        finish,
    ]


@pytest.mark.parametrize("version", ["3.8", "3"])
def test_the_program_runs_by_itself_on_old_pythons(hand, receive, home, version):
    python = shutil.which(f"python{version}") if version == "3.8" else sys.executable
    if python is None or subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode:
        pytest.skip(f"no Python {version} on this computer")
    tree, frames = first_copy(hand)
    pull = [hand.hello("pull", patterns=["f*"]), message(b"Q", {"fetch": [0], "same": []})]
    answer, said = receive(*frames, *pull, python=python)
    assert said == b""
    assert answer.count(tree.encode()) == 2  # in the words that end the push, and those that end the pull
    assert (home / "workdir" / "file").read_bytes() == b"data"


def test_a_copy_that_finds_nothing_to_do_loads_little(hand, receive):
    receive(*first_copy(hand)[1])
    unchanged = hand.hello(manifest=False, state=state_digest(encode([hand.file])))
    after = "print(*(name.rpartition('.')[2] for name in sys.modules), file=sys.stderr)"
    answer, loaded = receive(unchanged, after=after)
    assert b'"same": true' in answer
    assert not {"typing", "threading", "queue", "zlib", "hashlib", "subprocess"} & set(
        loaded.decode().split()
    )
    assert not {"serve", "outgoing", "agent", "files", "supervisor"} & set(loaded.decode().split())
