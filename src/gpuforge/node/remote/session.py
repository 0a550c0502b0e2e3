"""One client served over two streams: where a copy goes, and which of both ends it needs."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from _blake2 import blake2b

from .receive import Push
from .tree import FOLDER, Tree
from .wire import VERSION, GoneError, RefusedError, message, read_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Dict, List, Tuple


class Session:
    """Serves one client over two streams until it leaves."""

    def __init__(self, source: BinaryIO, target: BinaryIO, home: str) -> None:
        self._source, self._target = source, target
        self._home = os.path.realpath(home)
        self._records = os.path.join(self._home, ".gpuforge", "sync")

    def serve(self) -> int:
        """Requests until the end of input; the exit code."""
        try:
            while True:
                kind, payload = read_frame(self._source)
                if not kind:
                    return 0
                head = self._hello(kind, payload)
                if head["op"] == "push":
                    self._push(head)
                else:
                    self._pull(head)
        except RefusedError as error:
            self._say(message(b"!", {"reason": str(error)}))
            return 1
        except (GoneError, BrokenPipeError):
            return 2
        except OSError as error:
            self._say(message(b"!", {"reason": "%s: %s" % (error.filename or "the machine", error.strerror)}))
            return 1

    def _hello(self, kind: bytes, payload: bytes) -> Dict[str, Any]:
        head: Dict[str, Any] = json.loads(payload) if kind == b"H" else {}
        if head.get("version") != VERSION or head.get("op") not in ("push", "pull"):
            raise RefusedError("the client speaks another version of the protocol")
        return head

    def _say(self, data: bytes) -> None:
        self._target.write(data)
        self._target.flush()

    def _expect(self, wanted: bytes) -> bytes:
        kind, payload = read_frame(self._source)
        if kind != wanted:
            raise RefusedError("unexpected frame") if kind else GoneError
        return payload

    # where

    def _parts(self, root: str, *, outside: bool) -> Tuple[str, List[str]]:
        path = os.path.normpath(os.path.join(self._home, root[2:] if root[:2] == "~/" else root))
        if root == "~":
            path = self._home
        if path == self._home or path.startswith(self._home.rstrip("/") + "/"):
            base, parts = self._home, [p for p in path[len(self._home) :].split("/") if p]
            if parts[:1] == [".gpuforge"]:
                raise RefusedError("%s holds gpuforge's own files" % root)
            return base, parts
        if not outside:
            raise RefusedError(
                "%s lies outside the machine's home; isolation level 0 keeps copies below it" % root
            )
        return "/", [p for p in path.split("/") if p]

    def _root(self, head: Dict[str, Any], *, create: bool) -> Tuple[Tree, str]:
        base, parts = self._parts(head["root"], outside=bool(head.get("outside")))
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            if create:
                with contextlib.suppress(FileExistsError):
                    self._try(head, os.mkdir, part, 0o755, dir_fd=fd)
            below = self._try(head, os.open, part, FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        return Tree(fd), os.path.join(base, *parts)

    def _try(self, head: Dict[str, Any], call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except FileExistsError:
            raise
        except OSError as error:
            why = "%s" % error.strerror
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                why = "a file or symlink stands in the way; symlinks are never followed"
            raise RefusedError("%s: %r: %s" % (head["root"], args[0], why)) from error

    # push

    def _push(self, head: Dict[str, Any]) -> None:
        tree, where = self._root(head, create=True)
        try:
            Push(self._source, self._say, self._expect, tree, self._book(head, where)).run(head)
        finally:
            tree.close()

    def _book(self, head: Dict[str, Any], where: str) -> str:
        os.makedirs(self._records, mode=0o700, exist_ok=True)
        name = "%s\0%s" % (where, head.get("only", ""))
        key = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return os.path.join(self._records, key)

    # pull

    def _pull(self, head: Dict[str, Any]) -> None:
        from .serve import Pull

        tree, _ = self._root(head, create=False)
        try:
            Pull(self._target.write, self._say, self._expect, tree).run(head)
        finally:
            tree.close()
