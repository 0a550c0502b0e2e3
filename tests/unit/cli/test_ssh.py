"""``ssh`` opens a shell, runs one command, or says how to connect."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.parametrize(
    ("words", "code", "out"),
    [
        (["exit 7"], 7, b""),
        (["sh", "-c", "exit 9"], 9, b""),
        (["printf", "%s|", "a b", "c'd;"], 0, b"a b|c'd;|"),
        (["echo hi | wc -c"], 0, b"3\n"),
    ],
)
def test_a_commands_code_is_ours_and_its_words_keep_their_borders(words, code, out, process, live):
    """One word is a line of shell, several are an argv."""
    child = process("ssh", "dev", "--", *words)
    said, _ = child.communicate(timeout=60)

    assert (child.returncode, said) == (code, out)


def test_print_says_how_to_connect(gpuforge, live):
    """A line for the user's own shell, which works."""
    result = gpuforge("ssh", "dev", "--print")

    assert result.code == 0
    done = subprocess.run(["sh", "-c", f"{result.out.strip()} whoami"], capture_output=True, check=True)
    assert done.stdout.strip()


def test_json_says_how_to_connect(gpuforge, live):
    """The argv as it is."""
    data = gpuforge("ssh", "--json").document["data"]

    assert data["cluster"] == "dev"
    assert data["argv"][:2] == ["ssh", "-F"]


def test_a_node_that_is_not_there_is_refused(gpuforge, live):
    """With those there are."""
    result = gpuforge("ssh", "--node", "3", "dev", "--print")

    assert (result.code, result.err) == (
        66, "error: dev has no node 3\n  why  its nodes are 0 to 0\n",
    )  # fmt: skip


def test_without_the_openssh_client_it_says_what_is_missing(gpuforge, live, monkeypatch):
    """Exit 67; how to connect is still told."""
    monkeypatch.setenv("PATH", "/nowhere")

    assert gpuforge("ssh", "dev", "--print").code == 0
    assert gpuforge("ssh", "dev").code == 67
