"""Keys: made once, private, and host keys accepted only when they are exactly what they should be."""

from __future__ import annotations

import base64
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.errors import HostKeyError, StateError
from gpuforge.transport import fanout, keys

_HEAD = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"


def _line(raw: bytes, kind: str = "ssh-ed25519") -> str:
    return f"{kind} {base64.b64encode(raw).decode()}"


@pytest.fixture(params=["binary", "library"])
def way(request, monkeypatch, tmp_path):
    """With ssh-keygen, and on a computer without it."""
    if request.param == "library":
        monkeypatch.setenv("PATH", str(tmp_path))
    return request.param


def test_a_pair_is_made_once_and_private(way, tmp_path):
    """The second call gives the same line; nobody else may read the private half."""
    folder = tmp_path / "a cluster; é"
    line = keys.ensure_key(folder)
    assert line.startswith("ssh-ed25519 AAAA")
    private = folder / "id_ed25519"
    before = private.read_bytes()
    assert keys.ensure_key(folder) == line
    assert private.read_bytes() == before
    assert before.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert private.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(entry.name for entry in folder.iterdir()) == ["id_ed25519", "id_ed25519.pub"]


def test_the_two_halves_belong_together(way, tmp_path, monkeypatch):
    """What ssh-keygen derives from the private half is the public line."""
    line = keys.ensure_key(tmp_path / "c")
    monkeypatch.undo()
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", tmp_path / "c" / "id_ed25519"], check=True, capture_output=True, text=True
    ).stdout
    assert derived.split()[:2] == line.split()[:2]


def test_callers_at_once_end_with_one_pair(tmp_path):
    """Whoever is first decides; the others return its line."""
    lines = fanout.each(range(8), lambda _: keys.ensure_key(tmp_path / "c").split()[1])
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", tmp_path / "c" / "id_ed25519"], check=True, capture_output=True, text=True
    ).stdout
    assert set(lines) == {derived.split()[1]}


def test_a_lost_public_half_is_derived_again(tmp_path):
    """The private half is the one that counts."""
    line = keys.ensure_key(tmp_path)
    (tmp_path / "id_ed25519.pub").unlink()
    assert keys.ensure_key(tmp_path).split()[:2] == line.split()[:2]


def test_a_damaged_pair_is_a_state_error(tmp_path):
    """Never a silent new key: the machines hold the old one."""
    keys.ensure_key(tmp_path)
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA\n")
    with pytest.raises(StateError, match="damaged"):
        keys.ensure_key(tmp_path)
    (tmp_path / "id_ed25519.pub").write_bytes(b"\xff\xfe")
    with pytest.raises(StateError):
        keys.ensure_key(tmp_path)


def test_a_folder_that_cannot_be_made_is_a_state_error(tmp_path):
    """A file stands in its place."""
    (tmp_path / "file").touch()
    with pytest.raises(StateError):
        keys.ensure_key(tmp_path / "file" / "c")


def test_a_failing_key_generator_is_a_state_error(tmp_path, monkeypatch):
    """With its words."""
    program = tmp_path / "ssh-keygen"
    program.write_text("#!/bin/sh\necho no entropy >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StateError, match="no entropy"):
        keys.ensure_key(tmp_path / "c")


def test_the_fingerprint_is_the_one_of_ssh_keygen(tmp_path):
    """So that a user can compare it."""
    line = keys.ensure_key(tmp_path)
    said = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "id_ed25519.pub"], check=True, capture_output=True, text=True
    ).stdout
    assert keys.fingerprint(keys.parse_host_key(line)) == said.split()[1]


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["", " comment", "\r\nssh-ed25519 other", "\n"]))
def test_a_good_host_key_is_cut_at_white_space(key, rest):
    """Only the kind and the blob enter the file of pins."""
    parsed = keys.parse_host_key(_line(_HEAD + key) + rest)
    assert (parsed.kind, parsed.blob) == ("ssh-ed25519", base64.b64encode(_HEAD + key).decode())
    assert "\n" not in str(parsed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "ssh-ed25519",
        _line(_HEAD + b"k" * 31),
        _line(_HEAD + b"k" * 33),
        _line(b"\0\0\0\x07ssh-rsa" + b"k" * 40),
        _line(_HEAD + b"k" * 32, kind="ssh-rsa"),
        _line(_HEAD + b"k" * 32, kind="ecdsa-sha2-nistp256"),
        _line(_HEAD + b"k" * 32, kind="SSH-ED25519"),
        "@cert-authority " + _line(_HEAD + b"k" * 32),
        "ssh-ed25519 " + _line(_HEAD + b"k" * 32).split()[1][:-4] + "*AAA",
        "ssh-ed25519 ÄÖÜ",
    ],
)
def test_anything_else_is_refused(text):
    """Wrong kind, wrong size, an inner type that disagrees, or no base64."""
    with pytest.raises(HostKeyError):
        keys.parse_host_key(text)


@given(st.text(max_size=80))
def test_no_text_ends_in_another_error(text):
    """The cloud's answer is hostile input."""
    for candidate in (text, "ssh-ed25519 " + text):
        with pytest.raises(HostKeyError):
            keys.parse_host_key(candidate)
