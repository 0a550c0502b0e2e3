"""``gpuforge ssh``: a shell, or one command, on a node."""

from __future__ import annotations

import os
import shutil

import click

from gpuforge.cli.options import CommandWords, cluster_argument, json_option
from gpuforge.errors import NotFoundError, UnsupportedError

__all__ = ["command"]


@click.command(
    "ssh",
    cls=CommandWords,
    epilog="Example:  gpuforge ssh train-resnet -- nvidia-smi -L",
)
@click.option("--node", "rank", type=int, default=0, help="Node rank; 0 is the head.")
@click.option("--print", "only_print", is_flag=True, help="Print the ssh command instead of running it.")
@json_option
@cluster_argument(required=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(name: str | None, words: tuple[str, ...], rank: int, *, only_print: bool) -> None:
    """Open a shell with the pinned keys; words after the name run as one command.

    With --print or --json it only says how to connect, for your own ssh, rsync or editor.
    """
    import shlex  # noqa: PLC0415 - start-up cost

    from gpuforge.cli.output import output  # noqa: PLC0415
    from gpuforge.forge import Forge  # noqa: PLC0415

    cluster = Forge(progress=output.step).cluster(name)
    if not 0 <= rank < len(cluster.record.nodes):
        count = len(cluster.record.nodes)
        raise NotFoundError(f"{cluster.name} has no node {rank}", details=f"its nodes are 0 to {count - 1}")
    binary = shutil.which("ssh")
    argv = ["ssh", "-F", str(cluster.folder / "ssh_config"), cluster.record.nodes[rank].ref.name]
    if len(words) > 1:
        words = (shlex.join(words),)  # ssh itself would join them by blanks and lose their borders
    argv += words
    if output.as_json:
        output.data({"cluster": cluster.name, "rank": rank, "argv": argv})
        return
    if only_print:
        output.result(shlex.join(argv))
        return
    if binary is None:
        raise UnsupportedError(
            "a shell needs the OpenSSH client, and there is none on PATH",
            resolution="install OpenSSH's client",
        )
    os.execv(binary, argv)  # noqa: S606 - the user's own ssh takes this process's place
