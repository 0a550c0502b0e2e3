"""Keys of a cluster: its own Ed25519 pair, and the host keys its nodes are pinned by."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import subprocess
from pathlib import Path

from gpuforge.errors import HostKeyError, StateError
from gpuforge.models.instance import HostKey

__all__ = ["KEY_FILE", "ensure_key", "fingerprint", "parse_host_key"]

KEY_FILE = "id_ed25519"
_KIND = "ssh-ed25519"
_COMMENT = "gpuforge"
# length-prefixed "ssh-ed25519", then a length-prefixed key of 32 bytes
_BLOB_HEAD = b"\0\0\0\x0b" + _KIND.encode() + b"\0\0\0\x20"
_BLOB_SIZE = 51


def ensure_key(folder: Path) -> str:
    """The cluster's key pair in ``folder`` (0700), made on the first call.

    The private half (0600, OpenSSH format) never leaves the folder. Two callers at once end with one pair.

    Returns:
        The public line, ``ssh-ed25519 AAAA… gpuforge``.

    Raises:
        StateError: The folder cannot hold a private key, or holds a damaged pair.
    """
    private = folder / KEY_FILE
    public = folder / f"{KEY_FILE}.pub"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        if not (private.exists() and public.exists()):
            _make_pair(folder, private, public)
        line = public.read_text(encoding="ascii").strip()
        private.chmod(0o600)
    except (OSError, ValueError) as error:
        raise StateError(f"the cluster's key in {folder} cannot be used", details=str(error)) from error
    try:
        parse_host_key(line)
    except HostKeyError as error:
        raise StateError(
            f"{public} is damaged",
            details=error.brief,
            resolution=f"remove {private} and {public}; a new pair is made for a new cluster",
        ) from error
    return line


def _make_pair(folder: Path, private: Path, public: Path) -> None:
    import tempfile  # noqa: PLC0415 - start-up cost

    with tempfile.TemporaryDirectory(dir=folder, prefix=".key-") as scratch:
        made = Path(scratch) / KEY_FILE
        try:
            _generate_with_binary(made)
        except FileNotFoundError:
            _generate_with_library(made)
        made_public = made.with_suffix(".pub")
        made.chmod(0o600)
        # link() is the arbiter: the first writer's private half stays, and its public half is derived from it
        try:
            os.link(made, private)
        except FileExistsError:
            made_public.write_text(_public_of(private), encoding="ascii")
        made_public.replace(public)


def _generate_with_binary(made: Path) -> None:
    # 10 ms, against 80 ms for importing the library
    done = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", _COMMENT, "-f", str(made)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(f"ssh-keygen: {done.stderr.decode(errors='replace').strip()}")


def _generate_with_library(made: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - start-up cost
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - same

    key = Ed25519PrivateKey.generate()
    made.touch(mode=0o600)
    made.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
    )
    made.with_suffix(".pub").write_text(_public_of(made), encoding="ascii")


def _public_of(private: Path) -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - start-up cost

    key = serialization.load_ssh_private_key(private.read_bytes(), password=None)
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{line.decode('ascii')} {_COMMENT}\n"


def parse_host_key(text: str) -> HostKey:
    """The host key a cloud reports, checked: it ends up in a file that decides whom we trust.

    ``text`` is ``ssh-ed25519 AAAA…`` with an optional comment; everything after the blob is cut.

    Raises:
        HostKeyError: Anything but one well-formed Ed25519 key.
    """
    words = text.split(None, 2)
    if not words or words[0] != _KIND:
        found = repr(words[0][:40]) if words else "nothing"
        raise HostKeyError("the host key is not of kind ssh-ed25519", details=f"found {found}")
    if len(words) == 1:
        raise HostKeyError("the host key has no blob")
    blob = words[1]
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HostKeyError("the host key's blob is not base64", details=repr(blob[:40])) from error
    if len(raw) != _BLOB_SIZE or not raw.startswith(_BLOB_HEAD):
        raise HostKeyError("the host key's blob is not an Ed25519 key", details=f"{len(raw)} bytes")
    # one spelling per key: padding bits that decoders ignore would make two texts of it
    return HostKey(kind=_KIND, blob=base64.b64encode(raw).decode("ascii"))


def fingerprint(key: HostKey) -> str:
    """``SHA256:…`` as ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(key.blob)).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")
