"""What of a local folder travels: ignore files, git's own rules, and what cannot be copied at all.

``.gpuforgeignore`` at the root decides, else ``.skyignore`` (which replaces ``.gitignore``, as in
SkyPilot), else git's own rules. A folder that is mounted explicitly is copied even where git ignores it;
an ignore file of its own still counts. ``.git`` never travels: a machine needs the files, not their
history, and a copied history would carry credentials in its configuration.
"""

from __future__ import annotations

import codecs
import operator
import os
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from gpuforge.errors import SyncError
from gpuforge.node.remote.entries import Entry, of_stat

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["IGNORE_FILES", "Listing", "Rules", "credential_warning", "listing"]

IGNORE_FILES = (".gpuforgeignore", ".skyignore")
Rules = Literal["workdir", "mount"]
Row = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A local tree as it will travel.

    Attributes:
        root: The folder the paths are relative to (of a single file, the folder it lies in).
        entries: Sorted by path, so parents stand before children.
        ignored: How many entries the rules left out; a folder counts as one.
        skipped: ``(path, reason)`` of sockets, pipes and devices.
        failed: ``(path, reason)`` of what could not be read.
        only: The name of a single file, or empty.
        listed_ns: When the listing began, in the time that files are stamped with.
    """

    root: bytes
    entries: tuple[Entry, ...]
    ignored: int = 0
    skipped: tuple[Row, ...] = ()
    failed: tuple[Row, ...] = ()
    only: str = ""
    listed_ns: int = 0

    @property
    def total_bytes(self) -> int:
        """The content's size."""
        return sum(entry.size for entry in self.entries)


_PATH = operator.itemgetter(0)


class _Judge(Protocol):
    """A set of rules."""

    def keeps_file(self, path: bytes) -> bool:
        """Whether this file or symlink travels."""
        ...

    def kept_folders(self, paths: list[bytes]) -> set[bytes]:
        """Which of these folders are entered."""
        ...


def listing(local: Path, *, rules: Rules = "workdir") -> Listing:
    """List what of ``local`` travels.

    Raises:
        SyncError: ``local`` is not there or cannot be read.
    """
    listed_ns = time.time_ns()
    root = os.fsencode(local.expanduser().absolute())
    try:
        info = os.stat(root)  # noqa: PTH116 - paths are bytes: a name need not be text
    except OSError as error:
        raise SyncError(f"{local} cannot be copied", details=str(error.strerror)) from error
    if stat.S_ISDIR(info.st_mode):
        return _Walk(root, _judge(root, rules), listed_ns).listing()
    entry = of_stat(os.path.basename(root), info)  # noqa: PTH119 - paths are bytes
    if entry.kind != b"f":
        raise SyncError(f"{local} cannot be copied", details="it is neither a file nor a folder")
    folder = os.path.dirname(root)  # noqa: PTH120 - paths are bytes
    return Listing(root=folder, entries=(entry,), only=os.fsdecode(entry.path), listed_ns=listed_ns)


class _Walk:
    """One pass over a tree."""

    def __init__(self, root: bytes, judge: _Judge, listed_ns: int) -> None:
        self.root, self.judge, self.listed_ns = root, judge, listed_ns
        self.entries: list[Entry] = []
        self.skipped: list[Row] = []
        self.failed: list[Row] = []
        self.ignored = 0

    def listing(self) -> Listing:
        level = [b""]
        while level:  # by levels, so that git is asked once per depth and not once per folder
            folders: dict[bytes, Entry] = {}
            for path in level:
                self._scan(path, folders)
            kept = self.judge.kept_folders(list(folders))
            self.ignored += len(folders) - len(kept)
            level = [path for path in folders if path in kept]
            self.entries += [folders[path] for path in level]
        self.entries.sort(key=_PATH)
        return Listing(
            root=self.root,
            entries=tuple(self.entries),
            ignored=self.ignored,
            skipped=tuple(self.skipped),
            failed=tuple(self.failed),
            listed_ns=self.listed_ns,
        )

    def _scan(self, folder: bytes, folders: dict[bytes, Entry]) -> None:
        prefix = folder + b"/" if folder else b""
        keeps, add = self.judge.keeps_file, self.entries.append
        try:
            with os.scandir(self.root + b"/" + folder) as found:
                for item in found:
                    path = prefix + item.name
                    if item.name == b".git":
                        continue
                    if item.is_dir(follow_symlinks=False):
                        mode = item.stat(follow_symlinks=False).st_mode & 0o777
                        # a folder its owner cannot write to could never be updated again
                        folders[path] = Entry(path, b"d", mode | 0o700, 0, 0)
                    elif not keeps(path):
                        self.ignored += 1
                    elif item.is_file(follow_symlinks=False):
                        info = item.stat(follow_symlinks=False)
                        add(Entry(path, b"f", info.st_mode & 0o777, info.st_size, info.st_mtime_ns))
                    else:
                        self._add_other(path, item)
        except FileNotFoundError as error:
            self.failed.append(
                (os.fsdecode(error.filename or folder), "vanished while the folder was listed")
            )
        except OSError as error:
            self.failed.append((os.fsdecode(folder or b"."), f"cannot be read: {error.strerror}"))

    def _add_other(self, path: bytes, item: os.DirEntry[bytes]) -> None:
        if item.is_symlink():
            self.entries.append(Entry(path, b"l", 0, 0, 0, os.readlink(item.path)))  # noqa: PTH115 - bytes
        else:
            mode = item.stat(follow_symlinks=False).st_mode
            self.skipped.append((os.fsdecode(path), _special(mode)))


def _special(mode: int) -> str:
    kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    return f"{kind}; only files, folders and symlinks are copied"


# --- rules ------------------------------------------------------------------------------------------


def _judge(root: bytes, rules: Rules) -> _Judge:
    for name in IGNORE_FILES:
        path = os.path.join(root, name.encode())  # noqa: PTH118 - bytes
        if os.path.isfile(path):  # noqa: PTH113 - bytes
            return _IgnoreFile(path)
    if rules == "mount":
        return _Everything()
    if shutil.which("git") is None:
        path = os.path.join(root, b".gitignore")  # noqa: PTH118 - bytes
        return _IgnoreFile(path) if os.path.isfile(path) else _Everything()  # noqa: PTH113 - bytes
    files = _git_files(root, b"")
    if files is None or (not files and _is_left_out_above(root)):
        return _Everything()  # no repository, or one that ignores the very folder that was asked for
    return _Git(root, files)


def _is_left_out_above(root: bytes) -> bool:
    has_own = os.path.lexists(os.path.join(root, b".git"))  # noqa: PTH118 - bytes
    return not has_own and root in _git_ignores(root, [root])


class _Everything:
    def keeps_file(self, path: bytes) -> bool:
        del path
        return True

    def kept_folders(self, paths: list[bytes]) -> set[bytes]:
        return set(paths)


class _IgnoreFile:
    """One ignore file with git's syntax, the same with and without git on this computer."""

    def __init__(self, path: bytes) -> None:
        from gpuforge.sync.patterns import Patterns  # noqa: PLC0415 - start-up cost; few folders have such a file

        with open(path, "rb") as source:  # noqa: PTH123 - bytes
            self._rules = Patterns(source.read().removeprefix(codecs.BOM_UTF8).split(b"\n"))

    def keeps_file(self, path: bytes) -> bool:
        return not self._rules.ignores(path)

    def kept_folders(self, paths: list[bytes]) -> set[bytes]:
        # an ignored folder is not entered, so a later "!" cannot reach into it: git's own rule
        return {path for path in paths if not self._rules.ignores(path, is_folder=True)}


class _Git:
    """Git's own word: tracked files travel, untracked ones unless excluded, empty folders too."""

    def __init__(self, root: bytes, files: set[bytes]) -> None:
        self._root, self._files = root, files
        self._folders: set[bytes] = set()
        for path in files:
            self._add_above(path)

    def _add_above(self, path: bytes) -> None:
        above = path.rpartition(b"/")[0]
        while above and above not in self._folders:
            self._folders.add(above)
            above = above.rpartition(b"/")[0]

    def keeps_file(self, path: bytes) -> bool:
        return path in self._files

    def kept_folders(self, paths: list[bytes]) -> set[bytes]:
        kept = {path for path in paths if path in self._folders}
        # a repository inside (submodule or not) is one entry to git; its own rules hold within
        for path in [path for path in paths if path in self._files or path + b"/" in self._files]:
            inner = _git_files(self._root + b"/" + path, path + b"/")
            self._files |= inner or set()
            for found in inner or ():
                self._add_above(found)
            kept.add(path)
        unknown = [path for path in paths if path not in kept]
        if unknown:  # nothing in them travels: ignored, or empty and then worth keeping
            ignored = _git_ignores(self._root, unknown)
            kept |= {path for path in unknown if path not in ignored}
        return kept


def _git(folder: bytes, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    # whose repository it is does not matter for a listing, and a listing must not run its programs
    options = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", os.fsdecode(folder), *options, *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env=environ | {"GIT_OPTIONAL_LOCKS": "0"},
    )


def _git_files(folder: bytes, prefix: bytes) -> set[bytes] | None:
    done = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if done.returncode != 0:
        return None
    return {prefix + path for path in done.stdout.split(b"\0") if path}


def _git_ignores(folder: bytes, paths: Iterable[bytes]) -> set[bytes]:
    done = _git(folder, "check-ignore", "-z", "--stdin", "--no-index", stdin=b"\0".join([*paths, b""]))
    return {path for path in done.stdout.split(b"\0") if path}


# --- credentials ------------------------------------------------------------------------------------

_LOGINS = {
    (".aws",): "an AWS login",
    (".config", "gcloud"): "a Google Cloud login",
    (".azure",): "an Azure login",
    (".kube",): "a Kubernetes login",
    (".ssh",): "SSH keys",
    (".docker", "config.json"): "a container registry login",
    (".netrc",): "logins of several sites",
    (".git-credentials",): "a git login",
    (".huggingface", "token"): "a Hugging Face token",
}
_KEY_MARKS = (b"PRIVATE KEY-----", b'"private_key"', b'"refresh_token"', b"aws_secret_access_key")


def credential_warning(path: Path) -> str | None:
    """What login or private key ``path`` is, or ``None``; shown in the plan before anything leaves."""
    parts = path.expanduser().absolute().parts
    for tail, kind in _LOGINS.items():
        if any(parts[at : at + len(tail)] == tail for at in range(len(parts))):
            return f"{path} is {kind}"
    try:
        if not path.is_file():
            return None
        with path.open("rb") as source:
            head = source.read(16 * 1024)
    except OSError:
        return None
    for mark in _KEY_MARKS:
        if mark in head:
            return f"{path} holds a private key or a cloud login"
    return None
