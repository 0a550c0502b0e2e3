"""sshd's configuration and the wrapper its sessions go through, with odd names in them."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from gpuforge.errors import ProviderError
from gpuforge.simcloud.machines import sshd_openssh
from gpuforge.simcloud.machines.children import Children

_ODD = 'it\'s; a "folder" é'


def _config(folder):
    return sshd_openssh.render_config(
        folder=folder,
        home=folder / "home",
        host="127.0.84.1",
        port=22399,
        wrapper=folder / "session",
        sftp="/usr/lib/openssh/sftp-server",
    )


@pytest.mark.skipif(sshd_openssh.find_sshd() is None, reason="no sshd here")
def test_sshd_accepts_the_configuration_and_reads_odd_paths(tmp_path):
    folder = tmp_path / "a folder é"
    folder.mkdir()
    key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key")]
    subprocess.run(key, check=True)
    (folder / "cfg").write_text(_config(folder))
    sshd_openssh._make_privilege_folder()
    argv = [str(sshd_openssh.find_sshd()), "-T", "-f", str(folder / "cfg")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = done.stdout.splitlines()
    assert f"hostkey {folder / 'host_key'}" in seen
    assert f"forcecommand '{folder / 'session'}'" in seen
    assert "passwordauthentication no" in seen
    assert f"setenv HOME={folder / 'home'}" in seen


def test_the_wrapper_gives_a_command_the_machines_environment_and_nothing_else(tmp_path):
    home = tmp_path / _ODD / "home"
    wrapper = tmp_path / "session"
    wrapper.write_text(sshd_openssh.render_wrapper({"HOME": str(home), "A": _ODD}, home))
    given = {
        "SSH_ORIGINAL_COMMAND": 'pwd; echo "$A"; echo "$LC_ALL|$SECRET|$TERM|$SSH_TTY"; exit 4',
        "SSH_TTY": "/dev/pts/9",
        "TERM": "vt100",
        "SECRET": "s",
        "LC_ALL": "C",
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(["sh", str(wrapper)], env=given, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(home), _ODD, "C||vt100|/dev/pts/9"]
    assert done.returncode == 4


def test_without_a_command_the_wrapper_starts_a_login_shell(tmp_path):
    wrapper = tmp_path / "session"
    wrapper.write_text(sshd_openssh.render_wrapper({"HOME": str(tmp_path)}, tmp_path))
    given = {"PATH": "/usr/bin:/bin"}
    script = "shopt -q login_shell && echo login"
    argv = ["sh", str(wrapper)]
    done = subprocess.run(argv, env=given, input=script, capture_output=True, text=True, check=False)
    assert done.stdout == "login\n"


def _listen(tmp_path):
    async def run():
        children = Children()
        try:
            server = sshd_openssh.OpenSSHServer(
                public_keys=["ssh-ed25519 AAAA"],
                environ={"GPUFORGE_MACHINE_ID": "1-00"},
                home=tmp_path,
                folder=tmp_path,
                children=children,
            )
            await server.listen("127.0.84.2", 22398)
        finally:
            children.close()

    asyncio.run(run())


def test_without_sshd_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sshd_openssh, "_SSHD_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProviderError, match="not installed") as caught:
        _listen(tmp_path)
    assert "openssh-server" in caught.value.resolution


def test_an_sshd_that_ends_at_once_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sshd_openssh, "_SSHD_PLACES", ("/bin/false",))
    with pytest.raises(ProviderError, match="did not start"):
        _listen(tmp_path)


def test_sshd_is_found_on_the_search_path(tmp_path, monkeypatch):
    monkeypatch.setattr(sshd_openssh, "_SSHD_PLACES", ())
    program = tmp_path / "sshd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sshd_openssh.find_sshd() == Path(program)
