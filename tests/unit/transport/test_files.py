"""The cluster's SSH files: exact options, any path, whole or not at all; masters end with the cluster."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from gpuforge.errors import StateError
from gpuforge.models.instance import HostKey, Route
from gpuforge.testing.sshd import openssh_server
from gpuforge.transport import files, mux, ssh
from gpuforge.transport.base import Endpoint

_KEY = HostKey(
    kind="ssh-ed25519", blob="AAAAC3NzaC1lZDI1NTE5AAAAIKnvJlVDoLTDjk2gYqPU3tCwQY0VQhJB0sRzvXnNtsW0"
)


@pytest.fixture
def control_dir():
    """A short path."""
    folder = Path(tempfile.mkdtemp(prefix="gf-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _endpoint(folder, rank=0, **route):
    facts = {"host": f"127.0.0.{rank + 1}", "port": 2200 + rank, "user": "ubuntu", **route}
    return Endpoint(
        name=f"gf-train-{rank}", alias=f"fake.{rank}", route=Route(**facts), host_key=_KEY, folder=folder
    )


def _resolved(folder, name):
    said = subprocess.run(
        ["ssh", "-G", "-F", folder / "ssh_config", name], check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split(" ", 1) for line in said.splitlines() if " " in line)


def test_ssh_reads_every_option_as_meant(tmp_path, control_dir):
    """As the program itself resolves them, for the instance's name and for friendly ones."""
    nodes = [_endpoint(tmp_path, 0), _endpoint(tmp_path, 1)]
    files.write_cluster_files(
        tmp_path, nodes, control_dir=control_dir, names={"gf-train-0": ("train", "train-0")}
    )
    for name in ("gf-train-0", "train", "train-0"):
        options = _resolved(tmp_path, name)
        expected = {
            "hostname": "127.0.0.1",
            "port": "2200",
            "user": "ubuntu",
            "hostkeyalias": "fake.0",
            "stricthostkeychecking": "true",
            "userknownhostsfile": str(tmp_path / "known_hosts"),
            "globalknownhostsfile": "/dev/null",
            "checkhostip": "no",
            "verifyhostkeydns": "false",
            "updatehostkeys": "false",
            "nohostauthenticationforlocalhost": "no",
            "hostkeyalgorithms": "ssh-ed25519",
            "identityfile": str(tmp_path / "id_ed25519"),
            "identitiesonly": "yes",
            "identityagent": "none",
            "forwardagent": "no",
            "forwardx11": "no",
            "passwordauthentication": "no",
            "kbdinteractiveauthentication": "no",
            "batchmode": "yes",
            "permitlocalcommand": "no",
            "connecttimeout": "10",
            "serveraliveinterval": "15",
            "serveralivecountmax": "3",
            "controlmaster": "auto",
            "controlpath": str(files.control_path(nodes[0], control_dir)),
            "controlpersist": "600",
            "loglevel": "ERROR",
        }
        assert {key: options.get(key) for key in expected} == expected
        assert options["ciphers"].startswith("aes128-gcm@openssh.com,")
        assert options["kexalgorithms"].startswith("curve25519-sha256,")
    assert _resolved(tmp_path, "gf-train-1")["port"] == "2201"
    pins = (tmp_path / "known_hosts").read_text()
    assert pins == f"fake.0 {_KEY}\nfake.1 {_KEY}\n"


def test_hosts_of_the_user_are_not_spoken_of(tmp_path, control_dir):
    """The file may be included in the user's own configuration."""
    files.write_cluster_files(tmp_path, [_endpoint(tmp_path)], control_dir=control_dir)
    assert _resolved(tmp_path, "example.org")["batchmode"] == "no"


@pytest.mark.parametrize("name", ["two words", "it's; $(x)", 'a "quote"', "100%h %C", "back\\slash", "Grüße"])
def test_any_folder_can_hold_a_cluster(name, tmp_path, control_dir):
    """Ssh understands the paths in its own quoting."""
    folder = tmp_path / name
    files.write_cluster_files(folder, [_endpoint(folder)], control_dir=control_dir)
    options = _resolved(folder, "gf-train-0")
    # -G prints a path before % tokens are put in
    assert options["identityfile"].replace("%%", "%") == str(folder / "id_ed25519")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "ssh_config").stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in folder.iterdir()) == ["known_hosts", "ssh_config"]


@pytest.mark.parametrize("name", ["line\nbreak", "${HOME}"])
def test_a_folder_ssh_cannot_name_is_refused(name, tmp_path, control_dir):
    """Rather than a file that says something else."""
    folder = tmp_path / name
    with pytest.raises(StateError):
        files.write_cluster_files(folder, [_endpoint(folder)], control_dir=control_dir)


@pytest.mark.parametrize("host", ["a b", "x\nProxyCommand evil", "", "-oProxyCommand=x", "é"])
def test_an_address_that_is_more_than_one_is_refused(host, tmp_path, control_dir):
    """It comes from outside."""
    for endpoint in (_endpoint(tmp_path, host=host), replace(_endpoint(tmp_path), alias=host)):
        with pytest.raises(StateError):
            files.write_cluster_files(tmp_path, [endpoint], control_dir=control_dir)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "gf-home"])


def test_a_proxy_command_keeps_its_arguments(tmp_path, control_dir):
    """And its percent signs; a line break in it is refused."""
    endpoint = _endpoint(tmp_path, proxy_command=("gcloud", "start tunnel", "100%"))
    files.write_cluster_files(tmp_path, [endpoint], control_dir=control_dir)
    assert _resolved(tmp_path, "gf-train-0")["proxycommand"] == "gcloud 'start tunnel' 100%%"
    with pytest.raises(StateError):
        files.write_cluster_files(
            tmp_path, [_endpoint(tmp_path, proxy_command=("a\nb",))], control_dir=control_dir
        )


def test_files_that_cannot_be_written_leave_the_old_ones(tmp_path, control_dir):
    """A folder stands in the way."""
    (tmp_path / "ssh_config").mkdir()
    with pytest.raises(StateError, match="ssh_config"):
        files.write_cluster_files(tmp_path, [_endpoint(tmp_path)], control_dir=control_dir)
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_no_node_is_no_host(tmp_path, control_dir):
    """A cluster that is going down."""
    files.write_cluster_files(tmp_path, [], control_dir=control_dir)
    assert "Host " not in (tmp_path / "ssh_config").read_text()


def test_a_socket_path_that_is_too_long_is_refused(tmp_path):
    """With what to do."""
    with pytest.raises(StateError) as caught:
        files.control_path(_endpoint(tmp_path), tmp_path / ("x" * 90))
    assert "XDG_RUNTIME_DIR" in caught.value.resolution


def test_another_machine_at_the_same_address_has_another_socket(tmp_path, control_dir):
    """So an old connection is never taken for the new machine."""
    one = _endpoint(tmp_path)
    others = [
        replace(one, alias="fake.77"),
        replace(one, host_key=replace(_KEY, blob=_KEY.blob.replace("K", "L"))),
        replace(one, route=replace(one.route, port=1)),
        replace(one, folder=tmp_path / "other"),
    ]
    paths = {files.control_path(endpoint, control_dir) for endpoint in (one, *others)}
    assert len(paths) == 5


def test_a_folder_of_someone_else_is_not_used(tmp_path):
    """In a shared /tmp anybody may have made it first."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(StateError):
        files.private_folder(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(StateError):
        files.private_folder(tmp_path / "file" / "x")
    (tmp_path / "open").mkdir(mode=0o777)
    files.private_folder(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700


def test_the_lock_is_for_one_at_a_time(control_dir):
    """The loser waits no longer than its time."""
    path = control_dir / "socket"
    with (
        files.master_lock(path, timeout_seconds=1),
        pytest.raises(TimeoutError),
        files.master_lock(path, timeout_seconds=0.05),
    ):
        pass
    with files.master_lock(path, timeout_seconds=1):
        pass


def _gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except FileNotFoundError:
        return True


def test_no_master_survives_the_cluster(tmp_path, control_dir):
    """One that answers, one that is frozen, and one whose socket was swept away; others' stay."""
    with openssh_server(tmp_path / "server") as server:
        pids = []
        folder = tmp_path / "cluster"
        nodes = [server.endpoint(folder, name=f"n{rank}") for rank in range(3)]
        stranger = server.endpoint(tmp_path / "other")
        files.write_cluster_files(folder, nodes, control_dir=control_dir)
        files.write_cluster_files(stranger.folder, [stranger], control_dir=control_dir)
        for endpoint in (*nodes, stranger):
            ssh.connect(endpoint, control_dir=control_dir, engine="openssh")
            pid = mux.master_pid(files.control_path(endpoint, control_dir))
            assert pid is not None
            pids.append(pid)
        files.control_path(nodes[1], control_dir).unlink()
        files.close_masters(folder, control_dir=control_dir)
        assert [_gone(pid) for pid in pids] == [True, True, True, False]
        left = {entry.name.split(".")[0] for entry in control_dir.iterdir()}
        assert left == {files.control_path(stranger, control_dir).name}
        files.close_masters(stranger.folder, control_dir=control_dir)
    assert _gone(pids[3])
    assert list(control_dir.iterdir()) == []


def test_a_master_that_does_not_listen_any_more_is_killed(tmp_path, control_dir):
    """A frozen process answers nothing, and ends all the same."""
    with openssh_server(tmp_path / "server") as server:
        endpoint = server.endpoint(tmp_path / "cluster")
        files.write_cluster_files(endpoint.folder, [endpoint], control_dir=control_dir)
        ssh.connect(endpoint, control_dir=control_dir, engine="openssh")
        path = files.control_path(endpoint, control_dir)
        pid = mux.master_pid(path)
        path.unlink()
        os.kill(pid, signal.SIGSTOP)
        files.close_masters(endpoint.folder, control_dir=control_dir, timeout_seconds=1)
    assert _gone(pid)


def test_closing_what_was_never_opened_is_no_error(tmp_path, control_dir):
    """No folder, an empty one, and a stale socket."""
    files.close_masters(tmp_path, control_dir=tmp_path / "none")
    files.close_masters(tmp_path, control_dir=control_dir)
    path = files.control_path(_endpoint(tmp_path), control_dir)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    files.close_masters(tmp_path, control_dir=control_dir)
    assert not path.exists()


def test_a_process_that_cannot_be_ended_is_told(monkeypatch, tmp_path, control_dir):
    """With its number and the command that ends it."""
    monkeypatch.setattr(files, "_titled", lambda _: [os.getpid()])
    monkeypatch.setattr(files, "_signal", lambda *_: None)
    with pytest.raises(StateError, match=str(os.getpid())):
        files.close_masters(tmp_path, control_dir=control_dir, timeout_seconds=0.05)
