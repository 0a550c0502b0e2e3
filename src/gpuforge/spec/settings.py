"""Settings: ``config.toml`` < the project's ``gpuforge.toml`` < ``GPUFORGE_*`` < flags, each with its origin.

Loaded by every verb, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gpuforge.errors import Mistake, SpecError
from gpuforge.models.ids import slug
from gpuforge.spec.values import LONGEST_DURATION, format_duration, parse_duration, parse_provider
from gpuforge.spec.wording import closest, counted, did_you_mean, join_or, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["PROJECT_FILE", "Places", "Settings", "load_settings"]

PROJECT_FILE = "gpuforge.toml"

_PREFIX = "GPUFORGE_"
_FAKE_PREFIX = "GPUFORGE_FAKE_"
_OWNER = re.compile(r"[a-z][a-z0-9-]{0,39}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_WHOLE = re.compile(r"\d{1,9}")
_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_ENGINES = ("auto", "openssh", "paramiko")
# the provider gives them their meaning; here they are names and texts
_FAKE_KEYS = ("latency", "machines", "sshd")


class Places(Protocol):
    """The part of the folders' layout that is read here."""

    @property
    def settings_file(self) -> Path:
        """The user's ``config.toml``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds unless a task or a flag says otherwise.

    Attributes:
        provider: Where to rent; a paid cloud only ever by an explicit choice.
        region: Preferred region of that provider; ``None`` is any.
        owner: Goes into every label; tells whose machines are whose.
        max_duration: The cloud itself ends machines after this.
        autostop_minutes: Idle minutes until a machine deletes itself; ``None`` is off.
        heartbeat_seconds: How often a node's watcher says that it lives.
        ssh_engine: The OpenSSH binary where present (``auto``), or one of the two by force.
        fake: The simulated cloud's own settings, by the names of their variables.
        origins: Where each value came from: ``default``, a file's path, ``env NAME`` or ``flag``.
        warnings: Variables that look like settings but are none.
    """

    provider: str = "fake"
    region: str | None = None
    owner: str = "nobody"
    max_duration: timedelta = timedelta(hours=6)
    autostop_minutes: int | None = 20
    heartbeat_seconds: int = 30
    ssh_engine: Literal["auto", "openssh", "paramiko"] = "auto"
    fake: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()

    def provider_environ(self) -> Mapping[str, str]:
        """What a provider reads from its environment, files included; lay it over the process's own."""
        return self.fake

    def told(self) -> Iterator[tuple[str, str, str]]:
        """Name, value and origin of each setting, as ``gpuforge doctor`` shows them."""
        for name in _READERS:
            value = getattr(self, name)
            shown = format_duration(value) if isinstance(value, timedelta) else str(value)
            if value is None:
                shown = "any" if name == "region" else "off"
            yield name, shown, self.origins.get(name, "default")
        for name, value in sorted(self.fake.items()):
            key = f"fake.{name.removeprefix(_FAKE_PREFIX).lower()}"
            yield key, value, self.origins.get(key, "default")


def load_settings(
    paths: Places, *, environ: Mapping[str, str], cwd: Path, flags: Mapping[str, str] | None = None
) -> Settings:
    """Read all four places.

    Args:
        paths: Where the user's ``config.toml`` is.
        environ: Gives ``GPUFORGE_*``, and the default owner.
        cwd: The search for the project's ``gpuforge.toml`` starts here and goes up.
        flags: Settings named by flags, by field name.

    Raises:
        SpecError: With every mistake of every place at once.
    """
    gathered = _Gathered()
    gathered.take_file(paths.settings_file)
    project = _project_file(cwd, environ, gathered)
    if project is not None:
        gathered.take_file(project)
    gathered.take_environ(environ)
    for name, value in (flags or {}).items():
        gathered.take(name, value, origin="flag", where=f"--{name.replace('_', '-')}")
    if gathered.mistakes:
        raise SpecError(
            f"the settings have {counted(len(gathered.mistakes), 'mistake')}", mistakes=gathered.mistakes
        )
    origins = {name: gathered.origins.get(name, "default") for name in _READERS} | gathered.origins
    return Settings(
        **{"owner": _default_owner(environ), **gathered.values},
        fake=MappingProxyType(gathered.fake),
        origins=MappingProxyType(origins),
        warnings=tuple(gathered.warnings),
    )


@dataclass(slots=True)
class _Gathered:
    """Values so far; a later place wins."""

    values: dict[str, Any] = field(default_factory=dict)
    fake: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def take(self, name: str, value: object, *, origin: str, where: str, snippet: str = "") -> None:
        """Read one setting."""
        try:
            self.values[name] = _READERS[name](value)
        except ValueError as error:
            self.mistakes.append(Mistake(where=where, message=str(error), snippet=snippet))
        else:
            self.origins[name] = origin

    def take_file(self, path: Path) -> None:
        """Read a file of settings, if it is there."""
        try:
            text = path.read_text("utf-8-sig")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self.mistakes.append(Mistake(where=str(path), message=f"cannot be read: {reason}"))
            return
        import tomllib  # noqa: PLC0415 - start-up cost; most people have no such file

        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = _TOML_PLACE.search(str(error))
            where = f"{path}:{place[1]}:{place[2]}" if place else str(path)
            message = _TOML_PLACE.sub("", str(error)).strip()
            self.mistakes.append(Mistake(where=where, message=f"not TOML: {printable(message)}"))
            return
        self._take_table(table, path, text)

    def _take_table(self, table: Mapping[str, Any], path: Path, text: str) -> None:
        for name, value in table.items():
            line, snippet = _find(text, "", name)
            where = f"{path}:{line}:1"
            if name == "fake" and isinstance(value, dict):
                self._take_fake(value, path, text)
            elif name in _READERS:
                self.take(name, value, origin=str(path), where=where, snippet=snippet)
            else:
                known = (*_READERS, "fake")
                hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
                message = f"unknown setting {quoted(name)}{hint}"
                self.mistakes.append(Mistake(where=where, message=message, snippet=snippet))

    def _take_fake(self, table: Mapping[str, object], path: Path, text: str) -> None:
        for key, value in table.items():
            line, snippet = _find(text, "fake", key)
            where = f"{path}:{line}:1"
            if key not in _FAKE_KEYS:
                hint = did_you_mean(key, _FAKE_KEYS) or f"; there are {', '.join(_FAKE_KEYS)}"
                message = f"unknown setting of the simulated cloud {quoted(key)}{hint}"
                self.mistakes.append(Mistake(where=where, message=message, snippet=snippet))
            elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
                self.fake[f"{_FAKE_PREFIX}{key.upper()}"] = str(value)
                self.origins[f"fake.{key}"] = str(path)
            else:
                message = f"{quoted(str(value))} is neither text nor a number"
                self.mistakes.append(Mistake(where=where, message=message, snippet=snippet))

    def take_environ(self, environ: Mapping[str, str]) -> None:
        """Read ``GPUFORGE_*``; other such variables (those of a job, say) are left alone."""
        for variable, value in sorted(environ.items()):
            if not variable.startswith(_PREFIX) or not value:
                continue
            name = variable.removeprefix(_PREFIX).lower()
            if variable.startswith(_FAKE_PREFIX):
                self.fake[variable] = value
                self.origins[f"fake.{variable.removeprefix(_FAKE_PREFIX).lower()}"] = f"env {variable}"
            elif name in _READERS:
                self.take(name, value, origin=f"env {variable}", where=variable)
            elif variable not in _OTHER_VARIABLES and (near := closest(name, _READERS)) is not None:
                hint = f"did you mean {_PREFIX}{near.upper()}?"
                self.warnings.append(f"{printable(variable)} is no setting of gpuforge; {hint}")


def _project_file(cwd: Path, environ: Mapping[str, str], gathered: _Gathered) -> Path | None:
    """The nearest ``gpuforge.toml`` from ``cwd`` up to the repository's root, the home folder or the top."""
    home = environ.get("HOME")
    for folder in (cwd, *cwd.parents):
        path = folder / PROJECT_FILE
        if path.is_file():
            if path.stat().st_uid in (0, os.getuid()) or os.getuid() == 0:
                return path
            gathered.warnings.append(f"{path} belongs to another user and was left alone")
        if (folder / ".git").exists() or str(folder) == home:
            return None
    return None


def _find(text: str, table: str, key: str) -> tuple[int, str]:
    """The line on which a key of a table stands, and its text; tomllib keeps no places."""
    name = rf"[\"']?{re.escape(key)}[\"']?"
    inside = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*[\"']?([^\]\"'\s]+)[\"']?\s*\]", line)
        if header is not None:
            inside = header[1]
            if not table and inside == key:
                return number, printable(line.strip())
        elif (inside == table and re.match(rf"\s*{name}\s*[=.]", line)) or (
            table and not inside and re.match(rf"\s*{table}\s*(\.\s*{name}|=.*\b{re.escape(key)}\b)", line)
        ):
            return number, printable(line.strip())
    return 1, ""


def _default_owner(environ: Mapping[str, str]) -> str:
    user = environ.get("USER") or environ.get("LOGNAME") or _account()
    return slug(f"{user}@{os.uname().nodename.split('.')[0]}")


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return f"uid-{os.getuid()}"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{quoted(str(value))} is not text; write it in quotes")
    return value.strip()


def _provider(value: object) -> str:
    return parse_provider(_text(value))


def _region(value: object) -> str:
    text = _text(value)
    if not _WORD.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a region's name")
    return text


def _owner(value: object) -> str:
    text = _text(value)
    if not _OWNER.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} cannot be an owner; it goes into labels: lower-case letters, digits and dashes, "
            f"a letter first, 40 at most, such as {slug(text)}"
        )
    return text


def _max_duration(value: object) -> timedelta:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # refused with the fix
    return parse_duration(_text(value))


def _autostop_minutes(value: object) -> int | None:
    if value is False or (isinstance(value, str) and value.strip().lower() in ("off", "false")):
        return None
    minutes = _whole(value, 0, int(LONGEST_DURATION.total_seconds() // 60))
    return minutes or None


def _heartbeat_seconds(value: object) -> int:
    return _whole(value, 1, 3600)


def _whole(value: object, least: int, most: int) -> int:
    number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value.strip()) else value
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise ValueError(f"{quoted(str(value))} is out of range; write a whole number from {least} to {most}")
    return number


def _ssh_engine(value: object) -> str:
    text = _text(value).lower()
    if text not in _ENGINES:
        raise ValueError(f"{quoted(text)} is not an SSH engine; write {join_or(_ENGINES)}")
    return text


_READERS: Mapping[str, Callable[[object], object]] = {
    "provider": _provider,
    "region": _region,
    "owner": _owner,
    "max_duration": _max_duration,
    "autostop_minutes": _autostop_minutes,
    "heartbeat_seconds": _heartbeat_seconds,
    "ssh_engine": _ssh_engine,
}
_OTHER_VARIABLES = frozenset({"GPUFORGE_HOME"})
