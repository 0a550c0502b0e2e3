"""What of a folder travels: ignore files, git's own rules, what cannot be copied, what is a credential."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from gpuforge.errors import SyncError
from gpuforge.sync.ignore import credential_warning, listing

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, *paths: str) -> None:
    for path in paths:
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def paths(found) -> set[str]:
    return {os.fsdecode(entry.path) for entry in found.entries}


def files(found) -> set[str]:
    return {os.fsdecode(entry.path) for entry in found.entries if entry.kind != b"d"}


@pytest.fixture
def repo(source):
    git(source, "init", "-q")
    return source


def test_without_rules_everything_but_git_travels_sorted(source):
    write(source, "b/c", "a", "b/.hidden", "empty/", "sub/.git/config", ".git", "b.x/y")
    found = listing(source)
    assert paths(found) == {"a", "b", "b/.hidden", "b/c", "b.x", "b.x/y", "empty", "sub"}
    assert [entry.path for entry in found.entries] == sorted(entry.path for entry in found.entries)
    assert found.ignored == 0
    assert found.total_bytes == len("a") + len("b/c") + len("b/.hidden") + len("b.x/y")


def test_our_ignore_file_replaces_git_s(repo):
    write(repo, "keep", "logs/a.log", "logs/keep.log", "data/x", "out/deep/y")
    (repo / ".gitignore").write_text("keep\n")
    (repo / ".gpuforgeignore").write_text(
        "\ufeff# ours\r\n*.log\r\n!keep.log\r\n/data/\r\nout\r\n!out/deep\r\n"
    )
    found = listing(repo)
    assert files(found) == {".gitignore", ".gpuforgeignore", "keep", "logs/keep.log"}
    assert found.ignored == 3


def test_skypilot_s_ignore_file_is_read_when_ours_is_absent(repo):
    write(repo, "a", "b")
    (repo / ".gitignore").write_text("a\n")
    (repo / ".skyignore").write_text("b\n")
    assert files(listing(repo)) == {".gitignore", ".skyignore", "a"}
    (repo / ".gpuforgeignore").write_text("")
    assert "b" in files(listing(repo))


def test_git_s_rules_hold_with_negation_nesting_info_exclude_and_tracked_files(repo):
    write(
        repo, "a.log", "keep.log", "sub/b.tmp", "sub/c", "tracked.log", "gone", "secret", "venv/lib/x", "new"
    )
    (repo / ".gitignore").write_text("*.log\n!keep.log\nvenv/\n")
    (repo / "sub/.gitignore").write_text("*.tmp\n")
    (repo / ".git/info/exclude").write_text("secret\n")
    git(repo, "add", "-f", "tracked.log", "gone")
    (repo / "gone").unlink()
    found = listing(repo)
    assert files(found) == {".gitignore", "keep.log", "sub/.gitignore", "sub/c", "tracked.log", "new"}
    assert found.ignored == 4


def test_empty_folders_are_kept_under_git_unless_ignored(repo):
    write(repo, "empty/deep/", "cache/deep/", "only ignored/x.log", "a/b/c/", "a/file")
    (repo / ".gitignore").write_text("cache\n*.log\n")
    assert {"empty", "empty/deep", "only ignored", "a/b", "a/b/c"} <= paths(listing(repo))
    assert "cache" not in paths(listing(repo))


def test_names_that_are_not_text_travel_under_git(repo):
    for name in ("new\nline", "\udcff", "ünï", "-x", "a b"):
        (repo / name).write_text("x")
    assert files(listing(repo)) == {"new\nline", "\udcff", "ünï", "-x", "a b"}


def test_repositories_inside_follow_their_own_rules(repo, tmp_path):
    module = tmp_path / "module"
    write(module, "m", "m.o")
    git(module, "init", "-q")
    (module / ".gitignore").write_text("*.o\n")
    git(module, "add", ".")
    git(module, "commit", "-qm", "x")
    git(repo, "submodule", "add", "-q", str(module), "libs/module")
    write(repo, "libs/module/made.o", "libs/module/new", "nested/n", "nested/n.o")
    git(repo / "nested", "init", "-q")
    (repo / "nested/.gitignore").write_text("*.o\n")
    found = files(listing(repo))
    assert {"libs/module/m", "libs/module/new", "nested/n", ".gitmodules"} <= found
    assert not {"libs/module/made.o", "nested/n.o"} & found
    assert not any(".git/" in path or path.endswith("/.git") for path in found)


def test_a_subfolder_of_a_repository_lists_only_itself(repo):
    write(repo, "sub/a", "sub/b.log", "other")
    (repo / ".gitignore").write_text("*.log\n")
    assert files(listing(repo / "sub")) == {"a"}


def test_a_folder_that_git_ignores_travels_when_it_is_asked_for(repo):
    write(repo, "data/x", "data/y/z")
    (repo / ".gitignore").write_text("data/\n")
    assert files(listing(repo / "data", rules="mount")) == {"x", "y/z"}
    assert files(listing(repo / "data")) == {"x", "y/z"}


def test_a_mount_is_copied_whatever_git_says_but_follows_its_own_ignore_file(repo):
    write(repo, "a.log", "b.tmp")
    (repo / ".gitignore").write_text("*.log\n")
    assert "a.log" in files(listing(repo, rules="mount"))
    (repo / ".gpuforgeignore").write_text("*.tmp\n")
    assert files(listing(repo, rules="mount")) == {"a.log", ".gitignore", ".gpuforgeignore"}


def test_git_s_environment_does_not_redirect_the_listing(repo, tmp_path, monkeypatch):
    write(repo, "a", "b.log")
    (repo / ".gitignore").write_text("*.log\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert files(listing(repo)) == {"a", ".gitignore"}


def test_without_git_on_this_computer_the_ignore_file_still_counts(repo, monkeypatch):
    write(repo, "a", "b.log")
    (repo / ".gitignore").write_text("*.log\n")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert files(listing(repo)) == {"a", ".gitignore"}
    (repo / ".gitignore").unlink()
    assert files(listing(repo)) == {"a", "b.log"}


def test_links_are_entries_and_special_files_are_named(source, tmp_path):
    write(tmp_path, "outside/x")
    (source / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(source / "fifo")
    found = listing(source)
    (link,) = found.entries
    assert (link.kind, link.extra) == (b"l", os.fsencode(tmp_path / "outside"))
    assert found.skipped == (("fifo", "a named pipe; only files, folders and symlinks are copied"),)


def test_folders_stay_writable_by_their_owner(source):
    write(source, "sub/x")
    (source / "sub").chmod(0o555)
    modes = {os.fsdecode(entry.path): entry.mode for entry in listing(source).entries}
    assert modes["sub"] == 0o755


def test_a_single_file_and_what_is_not_there(source):
    write(source, "one")
    found = listing(source / "one")
    assert (found.only, found.root, len(found.entries)) == ("one", os.fsencode(source), 1)
    with pytest.raises(SyncError, match="No such file"):
        listing(source / "absent")
    os.mkfifo(source / "fifo")
    with pytest.raises(SyncError, match="neither a file nor a folder"):
        listing(source / "fifo")


def test_the_same_rules_give_the_same_listing_by_git_and_by_us(repo):
    write(repo, "build/x", "src/build/y", "src/a.log", "src/keep.log", "data/z", "out/keep/z")
    (repo / ".gitignore").write_text("build\n!src\n*.log\n!keep.log\n/data\nout/*\n!out/keep\n")
    by_git = files(listing(repo)) - {".gitignore"}
    (repo / ".gitignore").rename(repo / ".gpuforgeignore")
    assert files(listing(repo)) - {".gpuforgeignore"} == by_git == {"src/keep.log", "out/keep/z"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (".aws/credentials", "an AWS login"),
        (".config/gcloud", "a Google Cloud login"),
        (".ssh", "SSH keys"),
        (".netrc", "logins of several sites"),
    ],
)
def test_logins_are_named_by_their_place(tmp_path, path, kind):
    assert kind in credential_warning(tmp_path / path)


@pytest.mark.parametrize(
    "text", ["-----BEGIN OPENSSH PRIVATE KEY-----\n", '{"private_key": "x"}', "aws_secret_access_key = x"]
)
def test_keys_are_named_by_their_content(tmp_path, text):
    (tmp_path / "thing").write_text(text)
    assert "private key or a cloud login" in credential_warning(tmp_path / "thing")


def test_ordinary_files_and_folders_are_no_credentials(tmp_path, monkeypatch):
    (tmp_path / "data.csv").write_text("a,b\n")
    assert credential_warning(tmp_path / "data.csv") is None
    assert credential_warning(tmp_path) is None
    assert credential_warning(tmp_path / "absent") is None
