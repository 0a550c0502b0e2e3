"""Reading ``workdir``, ``file_mounts`` and ``outputs``: what is copied there and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, TypeAlias

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from gpuforge.spec.context import context_of
from gpuforge.spec.mistakes import Refusal, Refused
from gpuforge.spec.scalars import kind_of, text_of
from gpuforge.spec.wording import join_or, printable, quoted

__all__ = ["REMOTE_WORKDIR", "FileMount", "FileMounts", "Outputs", "Workdir"]

# where the workdir stands on a node, below its home folder (JobSpec.workdir)
REMOTE_WORKDIR = "workdir"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[\w.-]+@[\w.-]+:")
_CREDENTIALS = frozenset({".ssh", ".aws", ".gnupg", "gcloud", ".netrc", ".kube"})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMount:
    """A local file or folder and its place on every node.

    Attributes:
        remote: Below the node's home folder (``data/train``, ``workdir/data`` for a path written relative to
            the workdir), or absolute (``/data``); no dots, no slash at the end.
        local: Absolute; a folder's content, not the folder itself, lands in ``remote``.
    """

    remote: str
    local: Path


def _workdir(value: object, info: ValidationInfo) -> Path | None:
    if isinstance(value, Mapping):
        raise Refused.saying("a workdir from git is not in this version; write the path of a local folder")
    text = _filled(str(value) if isinstance(value, Path) else text_of(value), info)
    if text is None:
        return None
    if _URL.match(text):
        raise ValueError(
            f"{quoted(text)} is not a local folder; a workdir from elsewhere is not in this version"
        )
    if not text.strip():
        raise ValueError("the path is empty; write a folder, such as .")
    path = _checked(text, info)
    if not path.is_dir():
        raise ValueError(f"{quoted(text)} is a file; the workdir is a folder")
    return path


def _filled(text: str, info: ValidationInfo) -> str | None:
    """``$NAME`` and ``${NAME}`` of the task's own envs, as SkyPilot fills them.

    ``None`` when a name is needed from envs or secrets that were refused themselves.
    """
    if _VARIABLE.search(text) is None:
        return text
    envs = info.data.get("envs")
    secrets = info.data.get("secrets")
    if envs is None or secrets is None:
        return None

    def fill(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name in secrets:
            raise ValueError(f"{quoted(name)} is a secret; a path would show it")
        if name not in envs:
            raise ValueError(
                f"{quoted(match[0])} is not one of this task's envs; write it there, or the path itself"
            )
        return str(envs[name])

    return _VARIABLE.sub(fill, text)


def _checked(text: str, info: ValidationInfo) -> Path:
    path = context_of(info).expand(text)
    try:
        path.stat()
    except FileNotFoundError:
        raise ValueError(f"there is no {quoted(text)} here ({quoted(str(path))})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"{quoted(text)} cannot be read: {reason}") from None
    return path


def _file_mounts(value: object, info: ValidationInfo) -> tuple[FileMount, ...]:
    if isinstance(value, tuple) and all(isinstance(item, FileMount) for item in value):
        return tuple(value)
    if not isinstance(value, Mapping):
        raise Refused.saying(f"{kind_of(value)} is not a map; write remote/path: local/path lines")
    mounts: dict[str, FileMount] = {}
    refusals: list[Refusal] = []
    for key, item in value.items():
        on_key = True
        try:
            remote = _remote(str(key), info)
            on_key = False
            local = _local(item, info)
        except ValueError as error:
            refusals.append(Refusal(message=str(error), at=(str(key),), on_key=on_key))
            continue
        if remote is None or local is None:
            continue
        if not _CREDENTIALS.isdisjoint(local.parts):
            message = f"{printable(str(local))} looks like a credential; it is copied to every node"
            context_of(info).note(message, at=("file_mounts", str(key)))
        if remote in mounts:
            message = f"two mounts meet at {quoted(remote)}; remove one"
            refusals.append(Refusal(message=message, at=(str(key),), on_key=True))
        mounts[remote] = FileMount(remote=remote, local=local)
    if refusals:
        raise Refused(*refusals)
    return tuple(mounts.values())


def _remote(text: str, info: ValidationInfo) -> str | None:
    filled = _filled(text_of(text), info)
    if filled is None:
        return None
    if _URL.match(filled):
        raise ValueError(f"{quoted(filled)}: a bucket cannot be a destination; name a path on the machine")
    _refuse_slash(filled)
    if filled.startswith("~") and not filled.startswith("~/"):
        raise ValueError(f"{quoted(filled)} is not a path below the home folder; write ~/…")
    path = PurePosixPath(filled)
    if ".." in path.parts:
        raise ValueError(f'{quoted(filled)} goes up with ".."; name the place itself')
    if "\n" in filled or not filled.strip() or str(path) in (".", "/", "~"):
        raise ValueError(f"{quoted(filled)} cannot be a destination; name a file or folder on the machine")
    if path.is_absolute():
        return str(path)
    if path.parts[0] == "~":
        return str(path.relative_to("~"))
    return f"{REMOTE_WORKDIR}/{path}"


def _local(value: object, info: ValidationInfo) -> Path | None:
    if isinstance(value, Mapping):
        raise Refused.saying(
            "buckets and mounts are not in this version; write the path of a local file or folder"
        )
    text = _filled(str(value) if isinstance(value, Path) else text_of(value), info)
    if text is None:
        return None
    if _URL.match(text):
        raise ValueError(f"{quoted(text)}: only local paths are copied in this version; fetch it in setup")
    _refuse_slash(text)
    if not text.strip():
        raise ValueError("the path is empty; write a local file or folder")
    return _checked(text, info)


def _refuse_slash(text: str) -> None:
    if text.endswith("/") and text.strip("/"):
        raise ValueError(f"{quoted(text)} ends with a slash; write {quoted(text.rstrip('/'))}")


def _outputs(value: object) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        raise Refused.saying("outputs is a list of paths or globs under the workdir; write outputs: [runs]")
    if isinstance(value, str):
        raise Refused.saying(f"outputs is a list; write outputs: [{value}]")
    if not isinstance(value, (list, tuple)):
        raise Refused.saying(f"{kind_of(value)} is not a list; write outputs: [runs]")
    patterns: list[str] = []
    refusals: list[Refusal] = []
    for index, item in enumerate(value):
        try:
            patterns.append(_pattern(item))
        except ValueError as error:
            refusals.append(Refusal(message=str(error), at=(index,)))
    if refusals:
        raise Refused(*refusals)
    return tuple(dict.fromkeys(patterns))


def _pattern(value: object) -> str:
    if isinstance(value, Mapping):
        raise Refused.saying("sending outputs to a bucket is not in this version; write the path alone")
    text = text_of(value)
    if _URL.match(text):
        raise ValueError(f"{quoted(text)} is not a path under the workdir")
    path = PurePosixPath(text)
    reasons = {
        "is absolute": path.is_absolute(),
        "begins at the home folder": text.startswith("~"),
        'goes up with ".."': ".." in path.parts,
        "is the whole workdir": str(path) in (".", ""),
        "holds a line break": "\n" in text,
    }
    wrong = [reason for reason, holds in reasons.items() if holds]
    if wrong:
        raise ValueError(
            f"{quoted(text)} {join_or(wrong[:1])}; name paths or globs inside the workdir, such as runs"
        )
    return str(path)


Workdir: TypeAlias = Annotated[
    Path | None, PlainValidator(_workdir), WithJsonSchema({"type": ["string", "number"]})
]
FileMounts: TypeAlias = Annotated[
    tuple[FileMount, ...],
    PlainValidator(_file_mounts),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number"]}}),
]
Outputs: TypeAlias = Annotated[
    tuple[str, ...],
    PlainValidator(_outputs),
    WithJsonSchema(
        {"type": "array", "items": {"type": ["string", "number"]}, "examples": [["runs", "logs/*.txt"]]}
    ),
]
