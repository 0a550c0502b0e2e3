"""A push makes the node's folder equal, deletes only what it delivered, and says what it could not do."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuforge.errors import ConnectError, PolicyError, SyncError
from gpuforge.sync import ignore
from gpuforge.sync.push import Root, push

HOSTILE = [
    "a b",
    "quo'te\"",
    "new\nline",
    "semi;$(x)",
    "-dash",
    "ünï",
    "cafe\u0301",
    "\udcff\udc80",
    ".hidden",
    "x" * 255,
]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def tree_of(root: Path) -> dict[str, tuple]:
    """Everything a push promises to make equal."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            info = path.lstat()
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = ("link", str(path.readlink()))
            elif path.is_dir():
                found[key] = ("folder", stat.S_IMODE(info.st_mode) | 0o700)
            else:
                found[key] = ("file", stat.S_IMODE(info.st_mode), info.st_mtime_ns, path.read_bytes())
    return found


def one(node, source, cluster_folder, **named):
    (report,) = push(node, [Root(local=source, remote="workdir")], folder=cluster_folder, **named)
    return report


def test_a_first_push_makes_the_folder_equal_and_the_second_sends_nothing(node, source, cluster_folder):
    for name in HOSTILE:
        (source / "deep" / name[:200]).mkdir(parents=True)
        (source / "deep" / name[:200] / name).write_text(name, errors="surrogateescape")
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "read only").write_text("x")
    (source / "read only").chmod(0o444)
    (source / "link").symlink_to("run.sh")
    (source / "dangling").symlink_to("/no/where")
    (source / "large").write_bytes(os.urandom(3_000_001))
    first = one(node, source, cluster_folder)
    second = one(node, source, cluster_folder)
    assert tree_of(node.path("workdir")) == tree_of(source)
    assert (first.sent_files, second.sent_files) == (len(HOSTILE) + 3, 0)
    assert first.digest == second.digest
    assert first.files == second.files == len(tree_of(source))


def test_only_what_changed_travels(node, source, cluster_folder):
    for index in range(20):
        (source / f"{index}").write_text(f"{index:9}")
    one(node, source, cluster_folder)
    (source / "7").write_text("seventh!!")
    (source / "8").chmod(0o600)
    os.utime(source / "9", (1, 1))
    report = one(node, source, cluster_folder)
    assert (report.sent_files, report.sent_bytes) == (1, 9)
    assert tree_of(node.path("workdir")) == tree_of(source)


def test_a_change_that_keeps_size_and_time_is_seen_when_it_came_with_the_listing(
    node, source, cluster_folder
):
    path = source / "racy"
    path.write_text("one")
    one(node, source, cluster_folder)
    info = path.stat()
    path.write_text("two")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    report = one(node, source, cluster_folder)
    assert report.sent_files == 1
    assert node.path("workdir", "racy").read_text() == "two"


def test_deletions_follow_only_for_what_was_delivered(node, source, cluster_folder):
    (source / "old").mkdir()
    (source / "old" / "delivered").write_text("x")
    (source / "rewritten").write_text("x")
    (source / "kept").write_text("x")
    one(node, source, cluster_folder)
    node.path("workdir", "old", "by the job").write_text("result")
    node.path("workdir", "rewritten").write_text("the job's")
    shutil.rmtree(source / "old")
    (source / "rewritten").unlink()
    report = one(node, source, cluster_folder)
    assert node.path("workdir", "old", "by the job").read_text() == "result"
    assert node.path("workdir", "rewritten").read_text() == "the job's"
    assert not node.path("workdir", "old", "delivered").exists()
    assert report.deleted == 1
    assert report.skipped == (("rewritten", "changed on the machine since it was delivered; kept there"),)


def test_a_file_becomes_a_folder_and_the_reverse(node, source, cluster_folder):
    (source / "swap").write_text("file")
    (source / "other").mkdir()
    (source / "other" / "inner").write_text("x")
    (source / "link").symlink_to("swap")
    one(node, source, cluster_folder)
    (source / "swap").unlink()
    (source / "swap").mkdir()
    (source / "swap" / "inner").write_text("y")
    shutil.rmtree(source / "other")
    (source / "other").write_text("file now")
    (source / "link").unlink()
    (source / "link").mkdir()
    one(node, source, cluster_folder)
    assert tree_of(node.path("workdir")) == tree_of(source)


def test_a_folder_a_job_filled_is_not_replaced_by_a_file(node, source, cluster_folder):
    node.path("workdir", "out").mkdir(parents=True)
    node.path("workdir", "out", "result").write_text("dear")
    (source / "out").write_text("file")
    (source / "fine").write_text("file")
    with pytest.raises(SyncError) as caught:
        one(node, source, cluster_folder)
    assert caught.value.rows == (("out", "a folder with files of its own stands in its place"),)
    assert node.path("workdir", "out", "result").read_text() == "dear"
    assert node.path("workdir", "fine").exists()


def test_symlinks_on_the_node_are_never_followed(node, source, cluster_folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("untouched")
    node.path("workdir").mkdir()
    node.path("workdir", "data").symlink_to(outside)
    (source / "data").mkdir()
    (source / "data" / "precious").write_text("overwritten?")
    (source / "data" / "new").write_text("escaped?")
    (source / "ok").write_text("ok")
    with pytest.raises(SyncError) as caught:
        one(node, source, cluster_folder)
    assert [path for path, _ in caught.value.rows] == ["data"]
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"precious": "untouched"}
    assert node.path("workdir", "ok").read_text() == "ok"


def test_a_job_s_link_in_place_of_a_file_is_replaced_not_written_through(
    node, source, cluster_folder, tmp_path
):
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    node.path("workdir").mkdir()
    node.path("workdir", "file").symlink_to(outside)
    (source / "file").write_text("mine")
    one(node, source, cluster_folder)
    assert outside.read_text() == "untouched"
    assert node.path("workdir", "file").read_text() == "mine"


@pytest.mark.parametrize("remote", ["/etc/gpuforge-test", "../outside", "a/../../outside", "/data"])
def test_a_root_outside_the_home_is_refused(node, source, cluster_folder, remote):
    (source / "file").write_text("x")
    with pytest.raises(PolicyError, match="isolation level 0"):
        push(node, [Root(local=source, remote=remote)], folder=cluster_folder)
    assert not Path("/etc/gpuforge-test").exists()
    assert not (node.home.parent / "outside").exists()


def test_a_root_outside_the_home_is_allowed_when_asked(node, source, cluster_folder, tmp_path):
    (source / "file").write_text("x")
    target = tmp_path / "data" / "set"
    push(node, [Root(local=source, remote=str(target))], folder=cluster_folder, allow_outside=True)
    assert (target / "file").read_text() == "x"


def test_gpuforge_s_own_folder_and_a_linked_root_are_refused(node, source, cluster_folder, tmp_path):
    (source / "file").write_text("x")
    node.path("linked").symlink_to(tmp_path)
    for remote, reason in (("~/.gpuforge/agent", "own files"), ("linked", "symlink")):
        with pytest.raises(SyncError, match=reason):
            push(node, [Root(local=source, remote=remote)], folder=cluster_folder)
    assert not (tmp_path / "file").exists()


def test_single_files_take_the_name_or_go_into_the_folder(node, source, cluster_folder):
    (source / "conf.yaml").write_text("a: 1")
    roots = [
        Root(local=source / "conf.yaml", remote="etc/other.yaml", rules="mount"),
        Root(local=source / "conf.yaml", remote="~/into/", rules="mount"),
        Root(local=source / "conf.yaml", remote="top.yaml", rules="mount"),
        Root(local=source / "conf.yaml", remote="~", rules="mount"),
    ]
    push(node, roots, folder=cluster_folder)
    (source / "conf.yaml").write_text("a: 22")
    reports = push(node, roots, folder=cluster_folder)
    for place in ("etc/other.yaml", "into/conf.yaml", "top.yaml", "conf.yaml"):
        assert node.path(place).read_text() == "a: 22"
    assert [report.sent_files for report in reports] == [1, 1, 1, 1]


def test_pipes_and_sockets_are_named_and_left(node, source, cluster_folder):
    os.mkfifo(source / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(source / "socket"))
    (source / "file").write_text("x")
    report = one(node, source, cluster_folder)
    assert dict(report.skipped).keys() == {"fifo", "socket"}
    assert report.files == 1


def test_a_file_that_changes_while_it_is_sent_is_tried_again_then_named(node, source, cluster_folder):
    (source / "settles").write_text("before")
    (source / "fine").write_text("fine")
    (source / "vanishes").write_text("x")
    root = Root(local=source, remote="workdir")
    listings = {root: ignore.listing(source)}
    (source / "settles").write_text("after the listing")
    (source / "vanishes").unlink()
    with pytest.raises(SyncError) as caught:
        push(node, [root], folder=cluster_folder, listings=listings)
    assert caught.value.rows == (("vanishes", "vanished while the folder was sent"),)
    assert caught.value.exit_code == 74
    assert node.path("workdir", "settles").read_text() == "after the listing"
    one(node, source, cluster_folder)
    assert tree_of(node.path("workdir")) == tree_of(source)


def test_a_file_that_never_rests_is_a_row_and_the_rest_arrives(node, source, cluster_folder):
    (source / "a fine").write_text("x")
    path = source / "busy"
    path.write_bytes(bytes(40_000_000))
    stop = threading.Event()

    def keep_writing() -> None:
        with path.open("r+b") as file:
            while not stop.is_set():
                file.write(b"x")
                file.seek(0)
                file.flush()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        with pytest.raises(SyncError) as caught:
            one(node, source, cluster_folder)
    finally:
        stop.set()
        writer.join()
    assert caught.value.rows == (("busy", "changed while it was sent, twice"),)
    assert names_in(node.path("workdir")) == ["a fine"]


def test_a_lost_connection_can_be_resumed_and_leaves_no_half_file(node, source, cluster_folder):
    for index in range(40):
        (source / f"{index:02}").write_bytes(os.urandom(100_000))
    (source / "large").write_bytes(os.urandom(5_000_000))
    node.cut_after = 3_500_000
    with pytest.raises(ConnectError) as caught:
        one(node, source, cluster_folder)
    assert "only what is missing" in caught.value.resolution
    there = {path.name: path.read_bytes() for path in node.path("workdir").iterdir()}
    assert there
    assert all((source / name).read_bytes() == data for name, data in there.items())
    node.cut_after = None
    report = one(node, source, cluster_folder)
    assert report.sent_files == 41 - len(there)
    assert tree_of(node.path("workdir")) == tree_of(source)


def test_what_an_interrupted_push_delivered_is_deleted_when_it_is_gone_here(node, source, cluster_folder):
    for index in range(40):
        (source / f"{index:02}").write_bytes(os.urandom(100_000))
    node.cut_after = 2_500_000
    with pytest.raises(ConnectError):
        one(node, source, cluster_folder)
    assert node.path("workdir", "00").exists()
    (source / "00").unlink()
    node.cut_after = None
    one(node, source, cluster_folder)
    assert tree_of(node.path("workdir")) == tree_of(source)


def test_stale_temporary_files_are_swept(node, source, cluster_folder):
    (source / "sub").mkdir()
    (source / "sub" / "file").write_bytes(os.urandom(2_000_000))
    node.cut_after = 1_500_000
    with pytest.raises(ConnectError):
        one(node, source, cluster_folder)
    (pending,) = node.path(".gpuforge", "sync").glob("*.pending")
    token = pending.read_bytes().split(b'"')[3].decode()
    # as a receiver leaves it that was killed with SIGKILL
    node.path("workdir", "sub", f".gpuforge-{token}.part").write_text("half")
    node.cut_after = None
    one(node, source, cluster_folder)
    assert tree_of(node.path("workdir")) == tree_of(source)


def test_lost_or_damaged_records_cost_reading_not_sending(node, source, cluster_folder):
    for index in range(5):
        (source / f"{index}").write_text(f"{index}")
    before = one(node, source, cluster_folder)
    for record in node.path(".gpuforge", "sync").glob("*.manifest"):
        record.write_bytes(b"{}\nnot a record")
    assert one(node, source, cluster_folder).sent_files == 0
    shutil.rmtree(cluster_folder)
    again = one(node, source, cluster_folder)
    assert (again.sent_files, again.digest) == (0, before.digest)


def test_records_that_disagree_are_settled_by_content(node, source, cluster_folder):
    (source / "file").write_text("right")
    before = one(node, source, cluster_folder)
    (record,) = node.path(".gpuforge", "sync").glob("*.manifest")
    record.write_bytes(record.read_bytes().replace(before.digest.encode(), b"0" * 64))
    report = one(node, source, cluster_folder)
    assert (report.sent_files, report.digest) == (0, before.digest)
    assert before.digest.encode() in record.read_bytes()


def test_damage_on_the_node_is_repaired(node, source, cluster_folder):
    (source / "file").write_text("right")
    one(node, source, cluster_folder)
    node.path("workdir", "file").write_text("wrong")
    report = one(node, source, cluster_folder)
    assert report.sent_files == 1
    assert node.path("workdir", "file").read_text() == "right"


def test_an_unreadable_folder_is_a_row(node, source, cluster_folder, monkeypatch):
    (source / "fine").write_text("x")
    (source / "shut").mkdir()
    scandir = os.scandir

    def refuse(path):  # root may read everything, so the refusal is made here
        if path.endswith(b"shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SyncError) as caught:
        one(node, source, cluster_folder)
    assert caught.value.rows == (("shut", "cannot be read: Permission denied"),)
    assert node.path("workdir", "fine").exists()


def test_two_pushes_to_one_folder_do_not_mix(node, source, cluster_folder, monkeypatch):
    (source / "file").write_text("x")
    one(node, source, cluster_folder)
    (lock,) = node.path(".gpuforge", "sync").glob("*.lock")
    with lock.open() as held:
        subprocess.run(["flock", "-n", str(held.fileno())], pass_fds=[held.fileno()], check=True)
        monkeypatch.setattr("gpuforge.node.remote.receive.LOCK_SECONDS", 0.0)
        with pytest.raises(SyncError, match="another copy"):
            one(node, source, cluster_folder)


def test_progress_ends_at_the_total(node, source, cluster_folder):
    (source / "file").write_bytes(os.urandom(5_000_000))
    steps = []
    one(node, source, cluster_folder, progress=steps.append)
    assert {step.key for step in steps} == {"sync"}
    assert steps[-1].current == steps[-1].total == 5_000_000
    assert [step.current for step in steps] == sorted(step.current for step in steps)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MB."""
    place = tmp_path / "small disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_named_with_what_is_free_and_what_arrived_stays(
    node, source, cluster_folder, small_disk
):
    node.home = small_disk / "home"
    node.home.mkdir()
    (source / "a").write_bytes(os.urandom(1_000_000))
    (source / "b").write_bytes(os.urandom(5_000_000))
    (source / "c").write_bytes(os.urandom(50_000_000))
    with pytest.raises(SyncError) as caught:
        one(node, source, cluster_folder)
    ((path, reason),) = caught.value.rows
    assert path == "b"
    assert "the disk is full" in reason
    assert "free, 5.0 MB needed" in reason
    assert names_in(node.path("workdir")) == ["a"]
    (source / "b").unlink()
    (source / "c").unlink()
    assert one(node, source, cluster_folder).sent_files == 0


def test_the_real_client_and_a_receiver_process_do_the_same(process_node, source, cluster_folder, tmp_path):
    (source / "x").mkdir()
    (source / "x" / "file").write_text("x")
    (source / "x" / "file").chmod(0o664)
    report = one(process_node, source, cluster_folder)
    again = one(process_node, source, cluster_folder)
    assert tree_of(tmp_path / "node home" / "workdir") == tree_of(source)
    assert (report.sent_files, again.sent_files) == (1, 0)


names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
    ).filter(lambda text: text not in (".", "..", ".git") and len(os.fsencode(text)) < 200),
)
leaves = st.one_of(
    st.binary(max_size=200).map(lambda data: ("file", data, 0o644)),
    st.binary(max_size=20).map(lambda data: ("file", data, 0o755)),
    names.map(lambda target: ("link", target)),
)
trees = st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12).filter(
    lambda tree: isinstance(tree, dict)
)


def write_tree(root: Path, tree: dict) -> None:
    for name, value in tree.items():
        path = root / name
        if isinstance(value, dict):
            path.mkdir()
            write_tree(path, value)
        elif value[0] == "link":
            path.symlink_to(value[1])
        else:
            path.write_bytes(value[1])
            path.chmod(value[2])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=st.lists(trees, min_size=1, max_size=3))
def test_any_tree_edited_any_way_ends_equal_on_both_sides(node, source, cluster_folder, versions):
    for version in versions:
        shutil.rmtree(source)
        source.mkdir()
        write_tree(source, version)
        report = one(node, source, cluster_folder)
        assert tree_of(node.path("workdir")) == tree_of(source)
        assert one(node, source, cluster_folder).digest == report.digest
    for version in ({}, versions[0]):
        shutil.rmtree(source)
        source.mkdir()
        write_tree(source, version)
        one(node, source, cluster_folder)
        assert tree_of(node.path("workdir")) == tree_of(source)
