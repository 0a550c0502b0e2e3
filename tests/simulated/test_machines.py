"""Simulated machines as a person meets them: real processes behind real SSH servers, both kinds."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import os
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from pathlib import Path

import paramiko
import pytest

from gpuforge.simcloud.machines.sshd_openssh import find_sshd
from gpuforge.testing.machines import (
    make_key,
    running_machine,
    wait_until,
)

_SERVERS = [
    "asyncssh",
    pytest.param("openssh", marks=pytest.mark.skipif(find_sshd() is None, reason="no sshd here")),
]
# a daemon: new session, forked twice, deaf to SIGTERM and SIGHUP
_DAEMON = (
    "(trap '' TERM HUP; setsid sh -c \"trap '' TERM HUP; (while :; do sleep 0.2; done) &\" &)"
    " </dev/null >/dev/null 2>&1"
)


@pytest.fixture(scope="module", params=_SERVERS)
def machine(request, tmp_path_factory):
    """A machine with each kind of server, shared by the tests that leave it running."""
    # what a careless shell has in its environment
    planted = {"AWS_SECRET_ACCESS_KEY": "planted-secret", "SSH_AUTH_SOCK": "/planted/agent", "PYTHONPATH": ""}
    before = dict(os.environ)
    os.environ.update(planted)
    try:
        with running_machine(tmp_path_factory.mktemp(request.param), ssh_server=request.param) as one:
            yield one
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def client(machine):
    """A paramiko connection with the pinned key."""
    known = paramiko.HostKeys()
    blob = paramiko.Ed25519Key(data=base64.b64decode(machine.host_key))
    known.add(f"sim.{machine.spec.instance_id}", "ssh-ed25519", blob)
    sock = socket.create_connection((machine.host, machine.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one = paramiko.SSHClient()
    one.get_host_keys().update(known)
    one.connect(
        f"sim.{machine.spec.instance_id}",
        username=machine.spec.user,
        key_filename=str(machine.key),
        sock=sock,
        look_for_keys=False,
        allow_agent=False,
    )
    yield one
    one.close()


def _execute(client, command, stdin=b""):
    channel = client.get_transport().open_session()
    channel.exec_command(command)
    if stdin:
        channel.sendall(stdin)
    channel.shutdown_write()
    out = b""
    while data := channel.recv(1 << 16):
        out += data
    code = channel.recv_exit_status()
    channel.close()
    return code, out


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("exit 3", 3), ("kill -9 $$", 255), ("no-such-command-x", 127)]
)
def test_the_exit_code_of_a_command_is_the_exit_code_of_ssh(machine, command, code):
    assert machine.run(command).returncode == code


def test_two_hundred_fast_commands_lose_no_exit_code_and_no_output(client):
    def one(number):
        return _execute(client, f"echo {number}; exit {number % 100}") == (number % 100, b"%d\n" % number)

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert all(pool.map(one, range(200)))


def test_stdin_ends_and_comes_back_whole(client):
    data = os.urandom(3 << 20)
    code, out = _execute(client, "cat", data)
    assert (code, out == data) == (0, True)


def test_a_command_that_reads_nothing_does_not_hang_a_writer(machine):
    done = machine.run("exec <&-; echo done", stdin=b"x" * (1 << 20))
    assert done.stdout == b"done\n"


def test_large_output_arrives_whole_and_stderr_apart(machine):
    done = machine.run("head -c 20000000 /dev/zero | tr '\\0' x; echo problem >&2; exit 4")
    assert len(done.stdout) == 20_000_000
    assert (done.stderr, done.returncode) == (b"problem\n", 4)


def test_a_terminal_has_a_size_a_name_and_an_exit_code(machine):
    command = "tty; stty size; echo $TERM; exit 6"
    channel_lines = machine.run(command, extra=["-tt"])
    lines = channel_lines.stdout.decode().replace("\r", "").split("\n")
    assert channel_lines.returncode == 6
    assert lines[0].startswith("/dev/")


def test_a_terminal_follows_the_size_of_its_window(client):
    channel = client.get_transport().open_session()
    channel.get_pty("xterm-256color", 101, 33)
    channel.exec_command("stty size; read line; stty size; echo $TERM")
    text = b""
    while b"33 101" not in text:
        text += channel.recv(4096)
    channel.resize_pty(90, 44)
    time.sleep(0.1)  # the size travels without an answer
    channel.send(b"\n")
    while data := channel.recv(4096):
        text += data
    assert b"44 90" in text
    assert b"xterm-256color" in text
    assert channel.recv_exit_status() == 0


def test_an_interactive_shell_has_the_machines_own_path(client):
    channel = client.get_transport().open_session()
    channel.get_pty()
    channel.invoke_shell()
    channel.send(b"command -v sudo python3; exit 5\n")
    text = b""
    while data := channel.recv(4096):
        text += data
    assert b"/shims-" in text
    assert b"/venv/bin/python3" in text
    assert channel.recv_exit_status() == 5


def test_the_environment_shows_the_machine_and_no_credential_of_the_host(machine):
    parts = dict(
        line.split("=", 1) for line in machine.run("env").stdout.decode().splitlines() if "=" in line
    )
    assert "planted" not in repr(parts)
    assert not {"SSH_AUTH_SOCK", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"} & set(parts)
    assert parts["HOME"] == str(machine.home)
    assert parts["GPUFORGE_HOST"] == machine.host
    assert parts["SSH_CONNECTION"].split()[2:] == [machine.host, str(machine.port)]
    assert machine.run("pwd").stdout.decode().strip() == str(machine.home)
    assert b"planted" not in Path(f"/proc/{machine.pid}/environ").read_bytes()


def test_python_is_the_machines_own_and_reaches_the_hosts_packages(machine):
    code = "import sys, pytest; print(sys.prefix)"
    done = machine.run(f"python -c '{code}' && python3 -c '{code}' && head -1 \"$(command -v pytest)\"")
    venv = str(machine.spec.folder / "venv")
    assert done.stdout.decode().splitlines()[:2] == [venv, venv]
    assert done.returncode == 0, done.stderr


def test_pip_install_stays_inside_the_machine(machine, tmp_path):
    project = machine.home / "thing"
    (project / "thingmod").mkdir(parents=True)
    (project / "thingmod" / "__init__.py").write_text("def main():\n    print('it runs')\n")
    (project / "setup.py").write_text(
        "from setuptools import setup\n"
        "setup(name='thing', version='1', packages=['thingmod'],"
        " entry_points={'console_scripts': ['thing=thingmod:main']})\n"
    )
    command = "pip install --no-index --no-deps --no-build-isolation -q ./thing && thing && command -v thing"
    done = machine.run(command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == ["it runs", str(machine.spec.folder / "venv/bin/thing")]


@pytest.mark.parametrize("tool", ["scp", "scp-old", "sftp", "rsync"])
def test_files_travel_both_ways_and_scripts_of_copying_tools_succeed(machine, tmp_path, tool):
    if tool == "rsync" and shutil.which("rsync") is None:
        pytest.skip("no rsync here")
    name = "wörd 'n' ;x.bin"
    source = tmp_path / name
    source.write_bytes(os.urandom(1 << 20))
    back = tmp_path / "back.bin"
    target = f"{machine.spec.user}@{machine.host}"
    options = [*machine.options(), "-P", str(machine.port), "-q"]
    if tool == "rsync":
        shell = " ".join(machine.ssh()[:-1])
        subprocess.run(["rsync", "-a", "-e", shell, str(source), f"{target}:copy-rsync"], check=True)
        subprocess.run(["rsync", "-a", "-e", shell, f"{target}:copy-rsync", str(back)], check=True)
    elif tool == "sftp":
        batch = f'put "{source}" copy-sftp\nget copy-sftp "{back}"\n'
        subprocess.run(["sftp", *options, "-b", "-", target], input=batch.encode(), check=True)
    else:
        old = ["-O"] if tool == "scp-old" else []
        subprocess.run(["scp", *old, *options, str(source), f"{target}:copy-{tool}"], check=True)
        subprocess.run(["scp", *old, *options, f"{target}:copy-{tool}", str(back)], check=True)
    assert (machine.home / f"copy-{tool}").read_bytes() == source.read_bytes() == back.read_bytes()


class _Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"hello from inside")


def test_local_forwards_deliver_and_end_every_time(machine):
    # both sides end at nearly the same moment, where an end of file was lost once
    with socketserver.ThreadingTCPServer((machine.host, 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        target = machine.host if machine.spec.ssh_server == "openssh" else "localhost"
        argv = machine.ssh(extra=["-W", f"{target}:{server.server_address[1]}"])
        for _ in range(8):
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
            )
            assert done.stdout == b"hello from inside", done.stderr
        server.shutdown()
        thread.join()


def test_a_forward_to_nowhere_is_refused(machine):
    argv = machine.ssh(extra=["-W", f"{machine.host}:1"])
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    assert done.returncode == 255


def test_a_remote_forward_listens_on_the_machines_own_address(machine):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        listen = f"{machine.host}:28471" if machine.spec.ssh_server == "openssh" else "28471"
        back = f"{listen}:127.0.0.1:{server.server_address[1]}"
        code = "import os, socket; s = socket.create_connection((os.environ['GPUFORGE_HOST'], 28471))"
        code += "; print(s.recv(99).decode())"
        command = f'python3 -c "{code}"'
        extra = ["-R", back, "-o", "ExitOnForwardFailure=yes"]
        done = machine.run(command, extra=extra)
        server.shutdown()
        thread.join()
    if machine.spec.ssh_server == "asyncssh":  # sshd binds the loopback device unless GatewayPorts says more
        assert done.stdout == b"hello from inside\n", done.stderr


def test_nobody_else_gets_in(machine, tmp_path):
    stranger = machine.run("true", extra=["-l", "somebody-else"])
    assert stranger.returncode == 255
    other, _ = make_key(tmp_path)
    words = [str(other) if word == f"IdentityFile={machine.key}" else word for word in machine.ssh("true")]
    words = [f"IdentityFile={other}" if word == str(other) else word for word in words]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 255


def test_sudo_runs_the_command_as_it_is(machine):
    done = machine.run(
        "sudo -n true && sudo -E -u nobody A=b sh -c 'id -u; echo $A'; sudo -n -- sh -c 'exit 9'"
    )
    assert done.stdout.decode().split() == [str(os.getuid()), "b"]
    assert done.returncode == 9


def test_sudo_systemctl_never_reaches_the_host(machine):
    for command in ("sudo systemctl stop ssh", "sudo /usr/bin/systemctl restart cron", "systemctl start x"):
        done = machine.run(command)
        assert done.returncode == 5
        assert b"those of the host are not touched" in done.stderr
    assert machine.is_alive()


def test_apt_get_explains(machine):
    done = machine.run("sudo apt-get update -y && sudo apt-get install -y bash && apt install no-such-x")
    assert done.returncode == 100
    assert b"no-such-x" in done.stderr
    assert b"pip" in done.stderr


def test_nvidia_smi_tells_the_shape_that_was_rented(machine):
    done = machine.run(
        "nvidia-smi --query-gpu=name,memory.total --format=csv,noheader; nvidia-smi -L | wc -l"
    )
    assert done.stdout.decode().splitlines() == ["NVIDIA L4, 23034 MiB", "1"]


def test_metadata_is_reached_through_the_environment(machine):
    code = (
        "import os, urllib.request as u;"
        "r = u.Request('http://' + os.environ['GCE_METADATA_HOST'] + '/computeMetadata/v1/instance/name',"
        " headers={'Metadata-Flavor': 'Google'}); print(u.urlopen(r).read().decode())"
    )
    assert machine.run(f'python3 -c "{code}"').stdout.decode().strip() == machine.spec.name


def test_a_lost_connection_leaves_a_silent_command_alone_and_hangs_up_a_terminal(machine):
    silent = subprocess.Popen(
        machine.ssh("touch started; sleep 0.7; touch survived"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    command = "trap 'touch hung-up; exit' HUP; touch waiting; while :; do sleep 0.05; done"
    shell = subprocess.Popen(
        machine.ssh(command, extra=["-tt"]), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    for name in ("started", "waiting"):
        wait_until((machine.home / name).exists, what=name)
    for one in (silent, shell):
        one.kill()
        one.wait()
    shell.stdin.close()
    wait_until((machine.home / "survived").exists, what="the silent command")
    wait_until((machine.home / "hung-up").exists, what="the hang-up")


def test_a_command_may_leave_a_daemon_behind_and_return(machine):
    done = machine.run("(setsid sleep 30 >/dev/null 2>&1 </dev/null &); echo back")
    assert (done.stdout, done.returncode) == (b"back\n", 0)


def test_the_console_tells_the_boot(machine):
    text = (machine.spec.folder / "console.log").read_text()
    assert "Booting image pytorch-2-9-cu129" in text
    assert f"Server listening on {machine.host} port {machine.port}" in text
    blob = base64.b64decode(machine.host_key)
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    assert f"SHA256:{digest}" in text
