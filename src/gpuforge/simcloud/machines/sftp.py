# ruff: noqa: D102 - the public methods are asyncssh's, each with a check before it
"""File transfer on a simulated machine: paths begin in its HOME, and nothing outside its folder is changed.

Reading follows the machine's own view of the host (isolation level 0); every change is checked against the
real place of the path, symbolic links resolved.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["MachineSFTP", "lies_inside"]


def lies_inside(path: str | bytes, folder: Path, *, follow: bool) -> bool:
    """Whether a change at ``path`` stays below ``folder``.

    Args:
        path: Absolute.
        folder: The machine's.
        follow: The change goes through a symbolic link at the path itself: a write does, a removal does not.
    """
    text = os.fsdecode(path)
    parent, name = os.path.split(text)
    if follow or name in ("", ".", ".."):
        real = Path(os.path.realpath(text))
    else:
        real = Path(os.path.realpath(parent)) / name
    root = Path(os.path.realpath(folder))
    return root in real.parents


class MachineSFTP(asyncssh.SFTPServer):
    """SFTP for one machine."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], *, home: Path, folder: Path) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)
        self._folder = folder

    def exit(self) -> None:
        # without an exit status scp reports failure after a good copy
        self.channel.exit(0)

    def map_path(self, path: bytes) -> bytes:
        return os.path.normpath(path) if path.startswith(b"/") else os.path.join(self._home, path)  # noqa: PTH118

    def reverse_map_path(self, path: bytes) -> bytes:
        return path

    def _check(self, *paths: bytes, follow: bool = False) -> None:
        for path in paths:
            if not lies_inside(self.map_path(path), self._folder, follow=follow):
                shown = path.decode(errors="replace")
                raise asyncssh.SFTPPermissionDenied(f"{shown} lies outside the simulated machine's folder")

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        if pflags & ~asyncssh.FXF_READ:
            self._check(path, follow=True)
        return super().open(path, pflags, attrs)

    def open56(self, path: bytes, desired_access: int, flags: int, attrs: asyncssh.SFTPAttrs) -> object:
        self._check(path, follow=True)
        return super().open56(path, desired_access, flags, attrs)

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> Awaitable[None] | None:
        self._check(path, follow=True)
        return super().setstat(path, attrs)

    def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> Awaitable[None] | None:
        self._check(path)
        return super().lsetstat(path, attrs)

    def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> Awaitable[None] | None:
        self._check(os.fsencode(getattr(file_obj, "name", b"/")), follow=True)
        return super().fsetstat(file_obj, attrs)

    def remove(self, path: bytes) -> Awaitable[None] | None:
        self._check(path)
        return super().remove(path)

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> Awaitable[None] | None:
        self._check(path)
        return super().mkdir(path, attrs)

    def rmdir(self, path: bytes) -> Awaitable[None] | None:
        self._check(path)
        return super().rmdir(path)

    def rename(self, oldpath: bytes, newpath: bytes) -> Awaitable[None] | None:
        self._check(oldpath, newpath)
        return super().rename(oldpath, newpath)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> Awaitable[None] | None:
        self._check(oldpath, newpath)
        return super().posix_rename(oldpath, newpath)

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        # what a link says is its content; what goes through it is checked when it goes
        self._check(newpath)
        Path(os.fsdecode(self.map_path(newpath))).symlink_to(os.fsdecode(oldpath))

    def readlink(self, path: bytes) -> bytes:
        return os.fsencode(os.readlink(self.map_path(path)))  # noqa: PTH115 - the text as it stands

    def link(self, oldpath: bytes, newpath: bytes) -> Awaitable[None] | None:
        # a hard link to a file outside would be a way to write to it
        self._check(oldpath, follow=True)
        self._check(newpath)
        return super().link(oldpath, newpath)
