"""What is sent to a node's shell: the one place where argv lists become text."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from gpuforge.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuforge.transport.base import Completed

__all__ = ["check_put", "put_argv", "render_command"]

# Linux refuses a single argument of 128 KiB or more, on both sides
_LONGEST = 120 * 1024

# a connection that drops in the middle looks like the end of stdin: the size is compared before the rename
_PUT = """\
set -eu
folder=$(dirname -- "$1")
umask 077
mkdir -p -- "$folder"
temporary=$(mktemp -- "$folder/.gpuforge-put.XXXXXXXX")
trap 'rm -f -- "$temporary"' EXIT
cat > "$temporary"
if [ "$(wc -c < "$temporary")" -ne "$2" ]; then echo "incomplete: $1" >&2; exit 74; fi
chmod -- "$3" "$temporary"
mv -fT -- "$temporary" "$1"
trap - EXIT
"""


def render_command(argv: Sequence[str], *, drain_stdin: bool = False) -> bytes:
    """The text a POSIX shell splits into exactly ``argv`` again.

    The shell stays as the parent of the command, so that a death by signal ``n`` is exit code ``128 + n``
    over every client and server.

    Args:
        argv: Program and arguments; any text without NUL.
        drain_stdin: Read what the command leaves of its stdin, so that the node does not close the channel
            before the end of stdin is on its way.

    Raises:
        CommandError: Empty, longer than a node accepts, or with a NUL.
    """
    if not argv or not argv[0]:
        raise CommandError("the command is empty")
    # always quoted: `if`, `A=b` and aliases are words of the shell only when bare
    program = "'" + argv[0].replace("'", "'\"'\"'") + "'"
    text = " ".join([program, *(shlex.quote(word) for word in argv[1:])])
    if "\0" in text:
        raise CommandError(
            f"the command {argv[0]!r} holds a NUL character", resolution="remove it: no program accepts one"
        )
    # the shell's own remark on a command killed by a signal goes nowhere; the command's words go to stderr
    tail = 'c=$?; cat > /dev/null; exit "$c"' if drain_stdin else "exit $?"
    command = os.fsencode(f"{{ {text} 2>&3 3>&-; }} 3>&2 2>/dev/null; {tail}")
    if len(command) > _LONGEST:
        raise CommandError(
            f"the command {argv[0]!r} is {len(command)} bytes long",
            details=f"a node accepts {_LONGEST} bytes",
            resolution="send the long part on stdin",
        )
    return command


def put_argv(path: str, *, size: int, mode: int) -> list[str]:
    """The command that reads ``size`` bytes from stdin into ``path``: all of them, or the old file stays.

    Raises:
        CommandError: The path names no file.
    """
    if not path or path.endswith("/"):
        raise CommandError(f"{path!r} names no file")
    return ["sh", "-c", _PUT, "put", path, str(size), f"{mode:o}"]


def check_put(done: Completed, path: str, *, node: str) -> None:
    """The end of :func:`put_argv`.

    Raises:
        CommandError: The file was not written; what stood there before still does.
    """
    if done.exit_code != 0:
        raise CommandError(
            f"{path} could not be written on {node}",
            status=done.exit_code,
            details=done.stderr.decode(errors="replace").strip(),
            resolution="gpuforge ssh      and look at the disk and the folder there:  df -h ~",
        )
