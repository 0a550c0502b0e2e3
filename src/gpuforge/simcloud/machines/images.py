"""A machine image's Python: a virtual environment per image, kept, and a thin one per machine, made by hand.

A thin environment is a handful of files: its ``.pth`` file leads to the packages of the image and of the
interpreter that runs gpuforge, so an installed torch is there at once, while ``pip install`` stays inside the
machine. Console scripts of both are written again with the machine's own python in their first line.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import importlib.resources
import importlib.util
import json
import shlex
import shutil
import site
import sys
import sysconfig
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpuforge.simcloud.machines.environment import without_credentials
from gpuforge.simcloud.machines.specfile import replace_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Image", "Interpreter", "ensure_image", "make_thin", "parse_script", "pip_settings"]

_LARGEST_SCRIPT = 64 * 1024
_LONGEST_SHEBANG = 120
# it would need gpuforge's own way of being installed; nothing on a machine calls it
_NOT_REPEATED = {"gpuforge"}
_PIP_SCRIPT = "import sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The Python that runs gpuforge, as machines see it.

    Attributes:
        base: The interpreter below any virtual environment.
        packages: Folders that its imports come from, first wins.
        scripts: Where its console scripts lie.
    """

    base: Path
    version: str
    packages: tuple[Path, ...]
    scripts: Path

    @classmethod
    def current(cls) -> Interpreter:
        """The one running now."""
        known = [*site.getsitepackages()]
        if site.ENABLE_USER_SITE:
            known.append(site.getusersitepackages())
        folders = [Path(folder) for folder in known if folder in sys.path]
        return cls(
            base=Path(getattr(sys, "_base_executable", sys.executable)).resolve(),
            version=f"{sys.version_info.major}.{sys.version_info.minor}",
            packages=tuple(dict.fromkeys([*folders, *_linked(folders)])),
            scripts=Path(sysconfig.get_path("scripts")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What machines of one image share.

    Attributes:
        venv: The image's own environment; what is installed there, every machine of the image has.
        shims: Stand-ins for system commands, first on PATH.
        scripts: Name and text (without its first line) of each console script to repeat.
    """

    venv: Path
    shims: Path
    packages: tuple[Path, ...]
    scripts: dict[str, str]
    interpreter: Interpreter


def _linked(folders: Iterable[Path]) -> list[Path]:
    """Folders that plain lines of ``.pth`` files name: editable installs; lines of code are not followed."""
    found = []
    for folder in folders:
        for file in sorted(folder.glob("*.pth")):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                for line in file.read_text(encoding="utf-8").splitlines():
                    if line and not line.startswith(("#", "import ", "import\t")):
                        target = folder / line
                        if target.is_dir():
                            found.append(target.resolve())
    return found


def parse_script(text: str) -> str | None:
    """A Python console script without the lines that name its interpreter; ``None`` for anything else."""
    lines = text.split("\n")
    if lines[0].startswith("#!") and "python" in lines[0]:
        return "\n".join(lines[1:])
    # the form for long paths: #!/bin/sh, '''exec' /path/python "$0" "$@", ' '''
    if lines[0].startswith("#!/bin/sh") and len(lines) > 3 and lines[1].startswith("'''exec'"):
        return "\n".join(lines[3:])
    return None


def _shebang(python: Path) -> str:
    text = str(python)
    if len(text) <= _LONGEST_SHEBANG and not any(letter.isspace() for letter in text):
        return f"#!{text}\n"
    return f"#!/bin/sh\n'''exec' {shlex.quote(text)} \"$0\" \"$@\"\n' '''\n"


def _scripts(folders: Sequence[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        for entry in sorted(folder.iterdir()):
            if entry.name in found or entry.name in _NOT_REPEATED or not entry.is_file():
                continue
            if entry.stat().st_size > _LARGEST_SCRIPT:
                continue
            with contextlib.suppress(OSError, UnicodeDecodeError):
                body = parse_script(entry.read_text(encoding="utf-8"))
                if body is not None:
                    found[entry.name] = body
    return found


def _fingerprint(folders: Iterable[Path]) -> str:
    """Changes when something is installed into, or removed from, one of the folders."""
    parts = [sys.version]
    for folder in folders:
        stamp = folder.stat().st_mtime_ns if folder.is_dir() else 0
        parts.append(f"{folder}:{stamp}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def ensure_image(cloud_folder: Path, image: str, interpreter: Interpreter) -> Image:
    """The image's shared part, made on first use and again when the interpreter's packages changed."""
    folder = cloud_folder / "images" / image.replace("/", "_")
    venv = folder / "venv"
    own_packages = venv / "lib" / f"python{interpreter.version}" / "site-packages"
    if not (venv / "pyvenv.cfg").exists():
        _bare_venv(venv, interpreter, interpreter.packages)
    wheel = None if _has_pip([own_packages, *interpreter.packages]) else _bundled_pip()
    if wheel is not None:
        _unpack_pip(wheel, venv, own_packages)
    shims = _ensure_shims(folder)
    sources = [venv / "bin", interpreter.scripts]
    key = _fingerprint([*sources, own_packages, *interpreter.packages])
    scripts = _cached_scripts(folder / "scripts.json", key, sources)
    packages = tuple(dict.fromkeys([own_packages, *interpreter.packages]))
    return Image(venv=venv, shims=shims, packages=packages, scripts=scripts, interpreter=interpreter)


def _cached_scripts(path: Path, key: str, sources: Sequence[Path]) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["key"] == key:
            return {str(name): str(text) for name, text in row["scripts"].items()}
    scripts = _scripts(sources)
    replace_text(path, json.dumps({"key": key, "scripts": scripts}))
    return scripts


def _has_pip(packages: Iterable[Path]) -> bool:
    return any((folder / "pip" / "__init__.py").exists() for folder in packages)


def _bundled_pip() -> Path | None:
    """The wheel that Python itself brings along; some distributions leave it out."""
    found = importlib.util.find_spec("ensurepip")
    if found is None or found.origin is None:
        return None
    return next(iter(sorted(Path(found.origin).parent.glob("_bundled/pip-*.whl"))), None)


def _unpack_pip(wheel: Path, venv: Path, packages: Path) -> None:
    """Put pip into the image where the interpreter has none: a wheel of plain Python is its files."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for name in ("pip", "pip3"):
        (venv / "bin" / name).write_text(f"#!python\n{_PIP_SCRIPT}", encoding="utf-8")


def _ensure_shims(folder: Path) -> Path:
    """Copy the shims out of the package, executable, under a name that says which version they are."""
    source = importlib.resources.files("gpuforge.simcloud.machines") / "shims"
    files = sorted((item.name, item.read_bytes()) for item in source.iterdir() if item.is_file())
    digest = hashlib.sha256(b"\0".join(name.encode() + data for name, data in files)).hexdigest()[:12]
    target = folder / f"shims-{digest}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder))
    temporary.chmod(0o755)
    for name, data in files:
        if name.startswith("__"):
            continue
        path = temporary / name
        path.write_bytes(data)
        path.chmod(0o644 if "." in name else 0o755)
    for alias in ("halt", "reboot", "shutdown", "systemctl", "systemd-run"):
        (temporary / alias).symlink_to("poweroff")
    (temporary / "apt").symlink_to("apt-get")
    try:
        temporary.rename(target)
    except OSError:  # another process was first
        shutil.rmtree(temporary)
    return target


def _bare_venv(venv: Path, interpreter: Interpreter, packages: Iterable[Path]) -> None:
    """What ``python -m venv --without-pip`` makes, in a millisecond."""
    packages_folder = venv / "lib" / f"python{interpreter.version}" / "site-packages"
    packages_folder.mkdir(parents=True, exist_ok=True)
    (venv / "bin").mkdir(exist_ok=True)
    (venv / "include").mkdir(exist_ok=True)
    for name in ("python", "python3", f"python{interpreter.version}"):
        link = venv / "bin" / name
        if not link.is_symlink():
            with contextlib.suppress(FileExistsError):
                link.symlink_to(interpreter.base)
    lines = "".join(f"{folder}\n" for folder in packages)
    (packages_folder / "gpuforge-image.pth").write_text(lines, encoding="utf-8")
    # last: its presence says that the rest is there
    replace_text(
        venv / "pyvenv.cfg",
        f"home = {interpreter.base.parent}\ninclude-system-site-packages = false\n"
        f"version = {interpreter.version}\n",
    )


def make_thin(venv: Path, image: Image, *, pip_config: str = "") -> None:
    """Make a machine's own environment over its image; one that is there stays as it is.

    Args:
        venv: Its folder.
        image: What it is over.
        pip_config: Text of the environment's ``pip.conf``.
    """
    if (venv / "pyvenv.cfg").exists():
        return
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    first = _shebang(venv / "bin" / "python3")
    for name, body in image.scripts.items():
        path = venv / "bin" / name
        path.write_text(first + body, encoding="utf-8")
        path.chmod(0o755)
    if pip_config:
        (venv / "pip.conf").write_text(pip_config, encoding="utf-8")
    _bare_venv(venv, image.interpreter, image.packages)


def pip_settings(files: Iterable[Path]) -> str:
    """The index settings in the user's own pip configuration, since a machine's HOME is not the user's.

    Settings that hold a credential stay behind, as does everything that does not say where packages are.
    """
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        parser.read([str(file) for file in files], encoding="utf-8")
    kept = []
    for section in ("global", "install"):
        if parser.has_section(section):
            values = [(key, parser.get(section, key)) for key in _PIP_KEYS if parser.has_option(section, key)]
            lines = [
                f"{key} = {value.replace(chr(10), chr(10) + '    ')}"
                for key, value in values
                if without_credentials(value)
            ]
            if lines:
                kept.append(f"[{section}]\n" + "\n".join(lines) + "\n")
    return "\n".join(kept)
