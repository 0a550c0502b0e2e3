"""How simulated machines end, reboot and are swept: nothing outlives them, nothing else is touched."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpuforge.errors import ConflictError
from gpuforge.simcloud.machines import control, processes, specfile
from gpuforge.simcloud.machines.sshd_openssh import find_sshd
from gpuforge.testing.machines import (
    LINK,
    FileLink,
    await_boot,
    machine_spec,
    make_key,
    running_machine,
    wait_until,
)

_SERVERS = [
    "asyncssh",
    pytest.param("openssh", marks=pytest.mark.skipif(find_sshd() is None, reason="no sshd here")),
]
# a daemon: a session of its own, forked twice, deaf to SIGTERM and SIGHUP
_DAEMON = (
    "setsid sh -c '(trap \"\" TERM HUP; while :; do sleep 0.2; done) & echo $! > daemon.pid'"
    " </dev/null >/dev/null 2>&1; cat daemon.pid"
)
_CLEARED = (
    "env -i setsid /bin/sh -c '(while :; do /bin/sleep 0.2; done) & echo $! > cleared.pid'"
    " </dev/null >/dev/null 2>&1; cat cleared.pid"
)


def _lives(pid):
    return processes.start_ticks(pid) is not None and pid in {row.pid for row in processes.process_table()}


def _left(machine):
    """Whatever of the machine still runs."""
    marker = specfile.read_marker(machine.spec.folder, machine.spec.instance_id)
    return processes.marked(processes.process_table(), marker)


def _metadata(machine, path, *, method="GET", body=b""):
    address = machine.run("echo $GCE_METADATA_HOST").stdout.decode().strip()
    with contextlib.closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.request(method, path, body, {"Metadata-Flavor": "Google"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.fixture(params=_SERVERS)
def machine(request, tmp_path):
    """A machine that the test may end."""
    with running_machine(tmp_path / "cloud", ssh_server=request.param) as one:
        yield one


def test_a_killed_supervisor_leaves_nothing_after_a_sweep(machine):
    bystander = subprocess.Popen(["sleep", "300"])
    master = subprocess.Popen(
        machine.ssh("sleep 300", extra=["-tt"]), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        daemon = int(machine.run(_DAEMON).stdout)
        sshd = specfile.read_record(machine.spec.folder / "sshd.json")
        wait_until(lambda: len(_left(machine)) >= 3, what="the sessions")
        guard, _ = specfile.read_record(machine.spec.folder / "guard.json")
        os.kill(guard, signal.SIGKILL)  # it would be quicker than the sweep
        os.kill(machine.pid, signal.SIGKILL)
        wait_until(lambda: not machine.is_alive(), what="the supervisor's death")
        assert _lives(daemon)
        assert control.sweep(machine.spec.folder, machine.spec.instance_id) >= 2
        assert _left(machine) == set()
        assert not _lives(daemon)
        assert sshd is None or not [row for row in processes.process_table() if row.session == sshd[0]]
        assert bystander.poll() is None
        assert control.sweep(machine.spec.folder, machine.spec.instance_id) == 0
    finally:
        for one in (bystander, master):
            one.kill()
            one.communicate()


def test_a_killed_supervisor_leaves_nothing_by_itself_not_even_a_daemon_that_cleared_its_environment(machine):
    daemon = int(machine.run(_DAEMON).stdout)
    cleared = int(machine.run(_CLEARED).stdout)
    guard, _ = specfile.read_record(machine.spec.folder / "guard.json")
    os.kill(machine.pid, signal.SIGKILL)
    wait_until(lambda: not _lives(guard), what="the guard's end")
    assert not _lives(daemon)
    assert not _lives(cleared)
    assert _left(machine) == set()


def test_a_sweep_ends_what_the_guard_has_adopted(machine):
    cleared = int(machine.run(_CLEARED).stdout)
    guard, _ = specfile.read_record(machine.spec.folder / "guard.json")
    os.kill(guard, signal.SIGSTOP)
    os.kill(machine.pid, signal.SIGKILL)
    wait_until(lambda: not machine.is_alive(), what="the supervisor's death")
    assert _lives(cleared)
    assert control.sweep(machine.spec.folder, machine.spec.instance_id) >= 1
    assert not _lives(cleared)
    os.kill(guard, signal.SIGCONT)
    wait_until(lambda: not _lives(guard), what="the guard's end")


def test_a_machine_past_its_deadline_is_gone_with_no_client_alive(machine):
    daemon = int(machine.run(_DAEMON).stdout)
    cleared = int(machine.run(_CLEARED).stdout)
    assert _lives(daemon)
    assert _lives(cleared)
    machine.link.want(machine.spec.instance_id, deadline=datetime.now(UTC) + timedelta(seconds=0.5))
    assert machine.powered_off() == "deadline"
    assert _left(machine) == set()
    assert not _lives(daemon)
    assert not _lives(cleared)  # it cleared its marker, but the supervisor had adopted it
    assert machine.run("true").returncode == 255


def test_a_reboot_keeps_files_key_and_address_and_ends_processes(machine):
    daemon = int(machine.run(_DAEMON + "; echo kept > file").stdout)
    before = machine.run("echo $GPUFORGE_BOOT_ID").stdout
    machine.link.want(machine.spec.instance_id, wanted="reboot", reboot_count=1)
    wait_until(lambda: machine.link.events(machine.spec.instance_id, "rebooted"), what="the reboot")
    assert not _lives(daemon)
    after = machine.run("cat file; echo $GPUFORGE_BOOT_ID")
    assert after.stdout.startswith(b"kept\n"), after.stderr
    assert before not in after.stdout
    published = machine.link.events(machine.spec.instance_id, "publish")
    assert {row["value"] for row in published} == {machine.host_key}
    assert len(machine.link.events(machine.spec.instance_id, "booted")) == 1


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [({"wanted": "gone"}, "deleted"), ({"wanted": "stop"}, "stopped"), (None, "deleted")],
)
def test_a_machine_that_is_not_wanted_powers_off_by_itself(tmp_path, wanted, reason):
    with running_machine(tmp_path) as machine:
        machine.run("echo data > file")
        if wanted is None:
            machine.link.forget(machine.spec.instance_id)
        else:
            machine.link.want(machine.spec.instance_id, **wanted)
        assert machine.powered_off() == reason
        assert _left(machine) == set()
        assert (machine.home / "file").exists()


def test_a_preemption_is_announced_then_terminates_then_ends_the_machine(tmp_path):
    with running_machine(tmp_path, spot=True) as machine:
        script = "trap 'echo saved > state; exit' TERM; touch ready; while :; do sleep 0.05; done"
        job = subprocess.Popen(machine.ssh(script), stdin=subprocess.DEVNULL)
        wait_until((machine.home / "ready").exists, what="the job")
        path = "/computeMetadata/v1/instance/preempted"
        assert _metadata(machine, path) == (200, "FALSE")
        now = datetime.now(UTC)
        machine.link.want(machine.spec.instance_id, notice_at=now, preempt_at=now + timedelta(seconds=600))
        wait_until(lambda: _metadata(machine, path) == (200, "TRUE"), what="the notice")
        machine.link.want(machine.spec.instance_id, preempt_at=now)
        assert machine.powered_off() == "preempted"
        assert (machine.home / "state").read_text() == "saved\n"
        job.wait(20)


@pytest.mark.parametrize("command", ["sudo poweroff", "sudo /sbin/shutdown -h now", "systemctl poweroff"])
def test_poweroff_ends_the_machine_and_not_the_host(tmp_path, command):
    with running_machine(tmp_path) as machine:
        assert machine.run(f"{command}; sleep 30").returncode != 0
        assert machine.powered_off() == "guest"
        assert _left(machine) == set()


def test_the_guests_own_reboot_restarts_the_machine(tmp_path):
    with running_machine(tmp_path) as machine:
        before = (machine.spec.folder / "boot_id").read_text()
        machine.run("sudo reboot")
        wait_until(lambda: (machine.spec.folder / "boot_id").read_text() != before, what="the new boot")
        wait_until(lambda: machine.run("true").returncode == 0, what="SSH after the reboot")
        assert machine.run("shutdown -h +1 && shutdown -c").returncode == 0
        assert machine.is_alive()


def test_an_idle_node_deletes_itself(tmp_path):
    with running_machine(tmp_path) as machine:
        assert _metadata(machine, "/gpuforge/self-delete", method="POST")[0] == 202
        assert machine.powered_off() == "deleted"
        assert machine.link.events(machine.spec.instance_id, "self_delete")


def test_guest_attributes_reach_the_cloud(tmp_path):
    with running_machine(tmp_path) as machine:
        path = "/computeMetadata/v1/instance/guest-attributes/gpuforge/x"
        assert _metadata(machine, path, method="PUT", body=b"y")[0] == 200
        assert machine.link.events(machine.spec.instance_id, "publish")[-1]["key"] == "gpuforge/x"


def test_a_supervisor_that_is_ended_kindly_ends_its_machine(tmp_path):
    with running_machine(tmp_path) as machine:
        daemon = int(machine.run(_DAEMON).stdout)
        os.kill(machine.pid, signal.SIGTERM)
        assert machine.powered_off() == "host"
        assert not _lives(daemon)


def test_a_stopped_supervisor_is_swept_too(tmp_path):
    with running_machine(tmp_path) as machine:
        os.kill(machine.pid, signal.SIGSTOP)
        assert machine.is_alive()
        assert control.sweep(machine.spec.folder, machine.spec.instance_id) >= 1
        assert not machine.is_alive()


def test_a_machine_is_booted_once(tmp_path):
    with running_machine(tmp_path) as machine:
        with pytest.raises(ConflictError, match="already runs"):
            control.boot(machine.spec, tmp_path, link=LINK)
        assert machine.run("true").returncode == 0


def test_a_machine_without_a_free_address_says_so_on_its_console(tmp_path):
    with running_machine(tmp_path / "first") as first:
        key, public = make_key(tmp_path)
        places = {"addresses": (first.host,), "ports": (first.port,)}
        spec = machine_spec(tmp_path, public_key=public, instance_id="4712", **places)
        link = FileLink(tmp_path)
        link.want("4712", wanted="run")
        control.boot(spec, tmp_path, link=LINK)
        row = wait_until(lambda: link.events("4712", "powered_off"), what="the failure")[0]
        wait_until(lambda: not control.is_alive(spec.folder), what="the supervisor's end")
        assert row["reason"] == "boot failed"
        assert "boot failed: no address is free" in (spec.folder / "console.log").read_text()
        assert key.exists()


def test_many_machines_boot_at_once_each_with_a_lock_of_its_own(tmp_path):
    key, public = make_key(tmp_path)
    specs = [
        machine_spec(
            tmp_path,
            public_key=public,
            instance_id=str(number),
            addresses=(f"127.0.81.{number}",),
        )
        for number in range(1, 9)
    ]
    link = FileLink(tmp_path)
    for spec in specs:
        link.want(spec.instance_id, wanted="run")
    pids = control.boot_many(specs, tmp_path, link=LINK)
    try:
        machines = [await_boot(spec, link, pid, key) for spec, pid in zip(specs, pids, strict=True)]
        assert len({machine.host for machine in machines}) == 8
        assert {machine.run("echo $GPUFORGE_HOST").stdout.decode().strip() for machine in machines} == {
            machine.host for machine in machines
        }
        os.kill(pids[0], signal.SIGKILL)
        # a neighbour that had inherited the lock would keep the dead machine alive
        wait_until(lambda: not machines[0].is_alive(), what="the death of the first")
        assert all(machine.is_alive() for machine in machines[1:])
    finally:
        for spec in specs:
            link.want(spec.instance_id, wanted="gone")
        for spec in specs:
            wait_until(lambda folder=spec.folder: not control.is_alive(folder), what="the end")
            control.sweep(spec.folder, spec.instance_id)


def test_booting_none_starts_nothing(tmp_path):
    assert control.boot_many([], tmp_path) == []


def test_what_was_never_started_is_dead_and_leaves_nothing(tmp_path):
    assert not control.is_alive(tmp_path)
    assert control.sweep(tmp_path, "1") == 0


def test_a_deadline_holds_while_the_cloud_does_not_answer(tmp_path):
    with running_machine(tmp_path) as machine:
        number = machine.spec.instance_id
        machine.link.want(number, deadline=datetime.now(UTC) + timedelta(seconds=1.5))
        wait_until(lambda: "deadline" in (tmp_path / f"{number}.wanted.json").read_text())
        machine.run("sleep 0.4")  # a poll has seen the deadline by now
        path = tmp_path / f"{number}.wanted.json"
        kept = json.loads(path.read_text())
        loop = tmp_path / "loop"
        loop.symlink_to(path)
        loop.replace(path)  # it leads to itself: reading it fails from now on
        try:
            assert machine.powered_off() == "deadline"
        finally:
            path.unlink()
            path.write_text(json.dumps(kept))
        assert "the cloud does not answer" in (machine.spec.folder / "console.log").read_text()


@pytest.fixture(scope="module")
def sftp_machine(tmp_path_factory):
    """A machine whose SFTP refuses what lies outside."""
    with running_machine(tmp_path_factory.mktemp("sftp")) as one:
        yield one


def _sftp(machine, *lines):
    target = f"{machine.spec.user}@{machine.host}"
    argv = ["sftp", *machine.options(), "-P", str(machine.port), "-q", "-b", "-", target]
    return subprocess.run(argv, input="\n".join([*lines, ""]).encode(), capture_output=True, check=False)


@pytest.fixture
def outside(tmp_path):
    """A folder of the host with a file that must stay as it is."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    (folder / "empty").mkdir()
    yield folder
    assert (folder / "precious").read_text() == "precious"
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "precious"]
    assert (folder / "precious").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "line",
    [
        "put {file} {outside}/new",
        "put {file} {outside}/precious",
        "rm {outside}/precious",
        "rmdir {outside}/empty",
        "mkdir {outside}/made",
        "rename {outside}/precious inside",
        "rename mine {outside}/moved",
        "chmod 777 {outside}/precious",
        "ln {outside}/precious hard",
        "ln -s /etc {outside}/link",
        "put {file} to-outside/new",
        "put {file} to-precious",
        "rm to-outside/precious",
        "rename mine to-outside/moved",
        "chmod 777 to-precious",
        "put {file} ../../../escaped",
        "put {file} to-nothing",
    ],
)
def test_sftp_changes_nothing_outside_the_machines_folder(sftp_machine, tmp_path, outside, line):
    home = sftp_machine.home
    file = tmp_path / "file"
    file.write_text("new")
    file.chmod(0o600)
    (home / "mine").write_text("mine")
    links = {"to-outside": outside, "to-precious": outside / "precious", "to-nothing": outside / "nothing"}
    for name, target in links.items():
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(target)
    done = _sftp(sftp_machine, line.format(file=file, outside=outside))
    assert done.returncode != 0
    assert b"outside the simulated machine" in done.stderr or b"ermission denied" in done.stderr
    assert (home / "mine").read_text() == "mine"


def test_sftp_does_its_work_inside_and_removes_links_not_what_they_name(sftp_machine, tmp_path, outside):
    file = tmp_path / "file"
    file.write_text("new")
    (sftp_machine.home / "way-out").symlink_to(outside)
    done = _sftp(
        sftp_machine,
        "rm way-out",
        "mkdir d",
        f"put {file} d/f",
        "chmod 640 d/f",
        "ln -s f d/l",
        "ln d/f d/h",
        "rename d/f d/g",
        "ln -s /etc/hostname d/abs",
        f"get d/h {tmp_path}/back",
        "rm d/h",
        "mkdir e",
        "rmdir e",
        "df",
        "ls -la d",
    )
    assert done.returncode == 0, done.stderr
    folder = sftp_machine.home / "d"
    assert (folder / "l").readlink() == Path("f")
    assert (folder / "abs").readlink() == Path("/etc/hostname")
    assert (folder / "g").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "back").read_text() == "new"
    assert Path(folder / "g").read_text() == "new"


def test_a_unix_socket_of_the_host_cannot_be_reached_and_one_of_the_machine_can(sftp_machine, tmp_path):
    answer = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.bind('{}'); s.listen(); print('up', flush=True)"
    )
    answer += "; c = s.accept()[0]; c.sendall(b'hi'); c.close()"
    # short names: a socket's path holds about 100 bytes
    with contextlib.chdir(sftp_machine.home):
        inside = subprocess.Popen(["python3", "-c", answer.format("s")], stdout=subprocess.PIPE)
    inside.stdout.readline()
    for path, expected in ((sftp_machine.home / "s", b"hi"), (Path("/run/docker.sock"), b"")):
        local = Path("/tmp") / f"gfl{os.getpid()}"
        argv = sftp_machine.ssh(extra=["-N", "-L", f"{local}:{path}"])
        forward = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(local.exists, what="the forward")
            code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{local}'); print(s.recv(9))"
            got = subprocess.run(["python3", "-c", code], capture_output=True, check=False).stdout
            assert repr(expected).encode() in got
        finally:
            forward.kill()
            forward.wait()
            local.unlink(missing_ok=True)
    inside.wait(20)
    inside.stdout.close()
