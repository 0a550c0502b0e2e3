"""What a simulated machine cannot do to the files, processes and credentials of its host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpuforge.forge import Forge
from gpuforge.node.remote.entries import Entry, encode
from gpuforge.node.remote.wire import VERSION, frame, message, pack
from gpuforge.simcloud.machines import processes
from gpuforge.testing.commandline import command_line
from gpuforge.testing.nodes import eventually

PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws",
    "GOOGLE_APPLICATION_CREDENTIALS": "/planted/google.json",
    "SSH_AUTH_SOCK": "/planted/agent",
    "HF_TOKEN": "planted-hf",
    "PYTHONPATH": "/planted/python",
    "GITHUB_TOKEN": "planted-github",
    "KUBECONFIG": "/planted/kube",
    "HTTPS_PROXY": "http://me:planted-proxy@127.0.0.1:9",
    "PIP_EXTRA_INDEX_URL": "http://me:planted-index@127.0.0.1:9/simple",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A live machine, started from an environment full of credentials."""
    with command_line(tmp_path_factory.mktemp("safety"), PLANTED) as cli:
        cli("up", "--gpus", "L4:1", "-c", "dev", "--yes").ok()
        cli.write("file", "from the project")
        yield cli
        cli("down", "dev", "--yes").ok()


@pytest.fixture
def outside(tmp_path):
    """A folder of the host that must stay as it is."""
    folder = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    (folder / "secret").write_text("the host's own")
    (folder / "sub" / "secret").write_text("the host's own, too")
    before = _snapshot(folder)
    yield folder
    assert _snapshot(folder) == before


@pytest.fixture
def sentinel():
    """A process of the host that has nothing to do with the machine."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        assert process.poll() is None
        process.kill()


def _snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_push_outside_the_machines_home_is_refused_and_writes_nothing(host, outside):
    home = host.machine() / "home"
    around = {path.name for path in home.parent.iterdir()}
    targets = [f"{outside}/secret", "/etc/gpuforge-planted", "~/../planted", f"{home}/a/../../planted"]

    for target in targets:
        host("push", "file", target, "-c", "dev").refused(73, "outside the machine's home")

    assert {path.name for path in home.parent.iterdir()} == around
    assert not Path("/etc/gpuforge-planted").exists()
    host("push", "file", "~/.gpuforge/agent/", "-c", "dev").refused(74, "gpuforge's own files")


def test_a_task_that_mounts_or_fetches_outside_is_refused_before_anything_is_rented(host, outside):
    host.write(
        "bad.yaml",
        "name: other\nresources: {accelerators: L4:1}\nfile_mounts:\n  ~/../../x: file\n"
        "outputs: [../../x, /etc/passwd]\nrun: 'true'\n",
    )
    said = host("run", "bad.yaml", "--yes").refused(64, "bad.yaml:4:3", "bad.yaml:5:11", "bad.yaml:5:20")
    assert '"~/../../x" goes up' in said.err

    host.write(
        "outside.yaml",
        f"name: other\nresources: {{accelerators: L4:1}}\nfile_mounts:\n  {outside}/new: file\nrun: 'true'\n",
    )
    host("run", "outside.yaml", "--yes").refused(64, "outside.yaml:4:", "below the home")
    assert len(host.machines()) == 1


def test_a_push_never_goes_through_a_symlink_that_a_job_planted(host, outside):
    planted = f"cd; ln -sfn {outside} planted; mkdir -p tree; ln -sfn {outside} tree/sub"
    host("run", "-c", "dev", "--", planted).ok()
    host.write("tree/sub/secret", "from the project")

    host("push", "file", "planted/secret", "-c", "dev").refused(74, "symlinks are never followed")
    host("push", "tree/sub", "planted/sub", "-c", "dev").refused(74, "symlinks are never followed")
    said = host("push", "tree", "tree", "-c", "dev", "--json").refused(74)
    assert said.document["error"]["rows"][0]["path"] == "sub"


def test_a_deletion_never_goes_through_a_symlink_that_replaced_a_delivered_folder(host, outside):
    host.write("mirror/sub/secret", "from the project")
    host.write("mirror/kept", "from the project")
    host("push", "mirror", "mirror", "-c", "dev").ok()
    host("run", "-c", "dev", "--", f"cd ../mirror; rm -r sub; ln -s {outside}/sub sub").ok()
    (host.folder / "mirror" / "sub" / "secret").unlink()
    (host.folder / "mirror" / "sub").rmdir()

    again = host("push", "mirror", "mirror", "-c", "dev").ok()

    assert "sub: changed on the machine" in again.err
    assert (host.machine() / "home" / "mirror" / "sub").is_symlink()


@pytest.mark.parametrize("path", ["../../planted", "/etc/hostname", "a/../../../planted"])
def test_a_forged_order_to_delete_outside_is_refused(host, outside, path):
    victim = host.machine() / "planted"
    victim.write_text("not the guest's")
    node = Forge(environ=host.environ).cluster("dev").nodes[0]
    entry = Entry(b"file", b"f", 0o644, 0, 0)
    head = {"version": VERSION, "op": "push", "root": "forged", "only": "", "state": "", "manifest": True}

    with node.receiver([]) as process:
        process.write(message(b"H", head) + frame(b"M", pack(encode([entry]))))
        process.write(message(b"P", {"delete": [path], "make": []}))
        process.write(message(b"Z", {"tree": "", "pairs": []}))
        process.close_stdin()
        answer = b""
        while piece := process.read(65536):
            answer += piece

    assert b"would leave its folder" in answer
    assert victim.read_text() == "not the guest's"
    assert Path("/etc/hostname").exists()
    victim.unlink()


def test_a_pull_brings_no_file_of_the_host_through_a_symlink(host, outside, tmp_path):
    up = "../" * 30
    job = f"mkdir -p out; cd out; echo fine > fine; ln -s {outside}/secret absolute; ln -s {outside} folder;"
    job += f" ln -s {up}{str(outside)[1:]}/secret relative; mkfifo -m 600 pipe"
    host("run", "-c", "dev", "--", job).ok()
    into = tmp_path / "into"

    pulled = host("pull", "out", "-c", "dev", "--into", str(into)).ok()

    assert sorted(path.name for path in (into / "out").iterdir()) == ["fine"]
    assert pulled.err.count("a symlink that leads outside") == 3
    assert "out/pipe: neither a file" in pulled.err
    host("pull", "out/folder/secret", "-c", "dev", "--into", str(into)).refused(66, "nothing on dev matches")
    for pattern in (f"{outside}/secret", "out/../../../host_key"):
        host("pull", pattern, "-c", "dev", "--into", str(into)).refused(74, "would leave its folder")
    assert [path.name for path in into.rglob("*")] == ["out", "fine"]


def test_a_symlink_that_stands_here_is_not_written_through(host, outside, tmp_path):
    job = "mkdir -p deep/sub; echo theirs > deep/sub/secret; echo theirs > deep/secret"
    host("run", "-c", "dev", "--", job).ok()
    into = tmp_path / "into"
    (into / "deep").mkdir(parents=True)
    (into / "deep" / "sub").symlink_to(outside / "sub")
    (into / "deep" / "secret").symlink_to(outside / "secret")

    host("pull", "deep", "-c", "dev", "--into", str(into))

    assert (into / "deep" / "sub").is_symlink()
    assert (into / "deep" / "secret").is_symlink()


def test_no_credential_of_the_host_is_visible_on_the_machine(host):
    shows = host("run", "-c", "dev", "--", "env; cat /proc/self/environ").ok().out
    assert "HOME=" in shows
    shows += host("ssh", "dev", "--", "env").ok().out
    shows += host("ssh", "dev", "--", "bash", "-lic", "env").ok().out
    tree = _tree(host.supervisor())
    assert len(tree) >= 3  # the guard, the supervisor, the watcher
    shows += "".join(Path(f"/proc/{pid}/environ").read_text() for pid in tree)
    shows += "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in tree)

    assert [word for word in shows.replace("\0", "\n").splitlines() if "planted" in word] == []
    names = {line.partition("=")[0] for line in shows.replace("\0", "\n").splitlines()}
    assert set(PLANTED) & names == set()


def test_system_commands_of_a_job_reach_the_machine_alone(host, sentinel):
    job = "for unit in ssh sshd cron docker; do sudo systemctl stop $unit && exit 9; done;"
    job += " sudo -n systemctl status; which sudo systemctl shutdown reboot poweroff halt"

    done = host("run", "-c", "dev", "--", job).ok()

    shims = done.out.splitlines()[-6:]
    assert all(str(host.paths.simcloud) in shim for shim in shims), done
    assert "those of the host are not touched" in done.out


def test_a_job_that_powers_off_or_reboots_ends_its_machine_and_nothing_else(cli, sentinel):
    cli("up", "--gpus", "L4:1", "-c", "dev", "--yes").ok()
    host_boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    before = (cli.machine() / "boot_id").read_text()
    cli("run", "-c", "dev", "--detach", "--", "sudo reboot; sleep 300").ok()
    eventually(lambda: (cli.machine() / "boot_id").read_text() != before)

    again = cli("run", "-c", "dev", "--", "echo back").ok()
    assert again.out == "back\n"
    lost = cli("jobs", "--json").ok().document["data"][0]
    assert (lost["state"], lost["exit_code"] == 0) == ("lost", False)

    off = cli("run", "-c", "dev", "--", "echo going; sudo shutdown -h now; sleep 300")
    # the machine may be off before its last word has left it
    assert off.out in ("going\n", "going\nsimulated machine: poweroff now\n")
    off.refused(67, "node 0 of dev has ended", "powered off from inside", "gpuforge down dev")
    assert "stopped" in cli("status").ok().out
    assert sentinel.poll() is None
    assert Path("/proc/sys/kernel/random/boot_id").read_text() == host_boot
    cli("down", "dev").ok()

    gone = cli("run", "--gpus", "L4:1", "-c", "dev", "--yes", "--down", "--", "sudo poweroff; sleep 300")
    gone.refused(67, "node 0 of dev has ended", "dev is gone, says its cloud")


def _tree(supervisor):
    table = processes.process_table()
    parent = next(row.parent for row in table if row.pid == supervisor)
    below = processes.descendants(table, [supervisor])
    return {parent, supervisor, *below} - {1}
