"""A pull brings outputs back and never overwrites, deletes or follows what it must not."""

from __future__ import annotations

import os
import threading

import pytest

from gpuforge.errors import ConnectError, PolicyError, SyncError
from gpuforge.node.remote.entries import Entry, encode
from gpuforge.node.remote.wire import frame, pack
from gpuforge.sync.pull import _listing, pull, pull_paths
from gpuforge.sync.push import Root, push


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def into(tmp_path):
    return tmp_path / "into here"


@pytest.fixture
def bring(node, into, cluster_folder):
    def call(*patterns, **named):
        return pull(node, patterns, into=into, folder=cluster_folder, **named)

    return call


@pytest.fixture
def write(node):
    def call(path, data=b"x"):
        target = node.path("workdir", path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data if isinstance(data, bytes) else data.encode())
        return target

    return call


def test_outputs_come_back_with_modes_times_and_odd_names(bring, write, into):
    write("runs/a b/\udcff;$(x)\n.pt", os.urandom(2_000_001))
    script = write("runs/go.sh")
    script.chmod(0o750)
    os.utime(script, ns=(5, 1_234_567_890_123))
    (script.parent / "empty").mkdir()
    (script.parent / "latest").symlink_to("a b")
    report = bring("runs")
    assert (into / "runs/a b/\udcff;$(x)\n.pt").stat().st_size == 2_000_001
    info = (into / "runs/go.sh").stat()
    assert (info.st_mode & 0o777, info.st_mtime_ns) == (0o750, 1_234_567_890_123)
    assert (into / "runs/empty").is_dir()
    assert str((into / "runs/latest").readlink()) == "a b"
    assert (report.sent_files, report.deleted) == (2, 0)
    assert bring("runs").sent_files == 0


def test_globs_choose_within_and_across_folders_and_leave_unfinished_files(bring, write, into):
    for path in ("a/1.pt", "a/b/2.pt", "a/b/.hidden.pt", "a/b/3.pt.tmp", "c/4.txt"):
        write(path)
    report = bring("a/**/*.pt", "c/[0-4].*", "a/b/*", "none/*")
    found = sorted(str(path.relative_to(into)) for path in into.rglob("*") if path.is_file())
    assert found == ["a/1.pt", "a/b/2.pt", "a/b/3.pt.tmp", "c/4.txt"]
    assert ("none/*", "nothing on the machine matches") in report.skipped


def test_a_folder_leaves_its_unfinished_checkpoints(bring, write, into):
    write("ckpt/1.pt")
    write("ckpt/2.pt.tmp")
    bring("ckpt/")
    assert names_in(into / "ckpt") == ["1.pt"]


def test_a_local_change_is_kept_and_named(bring, write, into):
    write("out", "one")
    write("new", "x")
    bring("out")
    (into / "out").write_text("edited here")
    write("out", "three")
    report = bring("out", "new")
    assert (into / "out").read_text() == "edited here"
    ((path, reason),) = report.skipped
    assert path == "out"
    assert "changed here" in reason
    assert (into / "new").exists()


def test_a_file_of_the_same_size_is_told_apart_by_its_content(bring, write, into):
    into.mkdir()
    write("same", "12345")
    write("other", "12345")
    (into / "same").write_text("12345")
    (into / "other").write_text("54321")
    report = bring("same", "other")
    assert [path for path, _ in report.skipped] == ["other"]
    assert (into / "other").read_text() == "54321"
    write("same", "123456")  # what was found equal belongs to the machine's version from then on
    assert bring("same").sent_files == 1
    assert (into / "same").read_text() == "123456"


def test_what_the_machine_changed_after_a_push_replaces_the_untouched_local_file(
    node, bring, write, into, cluster_folder
):
    into.mkdir()
    (into / "log").write_text("pushed")
    (into / "mine").write_text("pushed")
    push(node, [Root(local=into, remote="workdir")], folder=cluster_folder)
    write("log", "grown by the job")
    write("mine", "grown by the job")
    (into / "mine").write_text("edited meanwhile")
    report = bring("log", "mine")
    assert (into / "log").read_text() == "grown by the job"
    assert (into / "mine").read_text() == "edited meanwhile"
    assert [path for path, _ in report.skipped] == ["mine"]


def test_nothing_is_deleted_here(bring, write, into, node):
    write("runs/old")
    bring("runs")
    node.path("workdir/runs/old").unlink()
    bring("runs")
    assert (into / "runs/old").exists()


def test_links_that_lead_out_and_special_files_stay(bring, write, into, node):
    write("out/file")
    node.path("workdir/out/abs").symlink_to("/etc/passwd")
    node.path("workdir/out/up").symlink_to("../../x")
    os.mkfifo(node.path("workdir/out/fifo"))
    report = bring("out")
    assert names_in(into / "out") == ["file"]
    assert {path for path, _ in report.skipped} == {"out/abs", "out/up", "out/fifo"}


def test_a_local_symlink_is_not_written_through(bring, write, into, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    into.mkdir()
    (into / "out").symlink_to(outside)
    write("out/file")
    with pytest.raises(SyncError, match="symlinks are never followed"):
        bring("out")
    assert not any(outside.iterdir())


def test_kinds_that_differ_are_left_alone(bring, write, into, node):
    write("thing", "a file there")
    (into / "thing").mkdir(parents=True)
    node.path("workdir/link").symlink_to("thing")
    (into / "link").symlink_to("elsewhere")
    report = bring("thing", "link")
    assert dict(report.skipped)["thing"] == "a folder stands here where the machine has a file"
    assert str((into / "link").readlink()) == "elsewhere"


@pytest.mark.parametrize("pattern", ["../up", "/etc/passwd", "a/../../b"])
def test_a_pattern_that_leaves_the_workdir_is_refused(bring, write, pattern):
    write("file")
    with pytest.raises(SyncError, match="would leave its folder"):
        bring(pattern)


def test_a_workdir_outside_or_missing_is_refused(bring, write):
    with pytest.raises(PolicyError):
        bring("x", workdir="/etc")
    with pytest.raises(SyncError, match="No such file"):
        bring("x", workdir="nowhere")


def test_a_lost_connection_keeps_what_came_and_the_next_pull_brings_the_rest(
    bring, write, into, node, monkeypatch
):
    for index in range(20):
        write(f"runs/{index:02}", os.urandom(300_000))
    monkeypatch.setattr(node, "lose_after", 3_000_000)
    with pytest.raises(ConnectError):
        bring("runs")
    came = len(names_in(into / "runs"))
    assert 0 < came < 20
    monkeypatch.setattr(node, "lose_after", None)
    assert bring("runs").sent_files == 20 - came
    assert names_in(into / "runs") == [f"{index:02}" for index in range(20)]


def test_a_file_still_being_written_is_a_row(bring, write, into):
    path = write("busy", bytes(40_000_000))
    write("done")
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
            bring("busy", "done")
    finally:
        stop.set()
        writer.join()
    assert caught.value.rows == (("busy", "changed while it was sent, twice"),)
    assert names_in(into) == ["done"]


def test_single_paths_come_under_their_own_name(node, write, into, cluster_folder):
    write("runs/a/file", "x")
    (node.path("top")).write_text("t")
    named = {"into": into, "folder": cluster_folder}
    pull_paths(node, "workdir/runs/a", **named)
    pull_paths(node, "~/top", **named)
    pull_paths(node, "top", **named)
    pull_paths(node, str(node.home.resolve() / "workdir" / "runs"), **named)
    pull_paths(node, "~", into=into / "all", folder=cluster_folder)
    assert (into / "a/file").read_text() == (into / "runs/a/file").read_text() == "x"
    assert (into / "top").read_text() == (into / "all/top").read_text() == "t"
    assert not (into / "all/.gpuforge").exists()


def test_progress_counts_to_the_total(bring, write):
    write("large", os.urandom(3_500_000))
    steps = []
    bring("large", progress=steps.append)
    assert {step.key for step in steps} == {"outputs"}
    assert 0 < steps[-1].current <= steps[-1].total == 3_500_000


def test_a_listing_with_a_name_that_leaves_is_not_taken():
    payload = pack(encode([Entry(b"../evil", b"f", 0o644, 1, 1)]))
    with pytest.raises(SyncError, match="cannot be taken"):
        _listing(payload)
    with pytest.raises(SyncError, match="cannot be taken"):
        _listing(pack(b"f\0x\0\0"))
    assert frame(b"M")
