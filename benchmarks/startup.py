"""Start-up beside peers: ``--help``, ``--version``, ``status``, ``import gpuforge``; wall, memory, modules.

python benchmarks/startup.py              peers that are there already, gcloud and aws of PATH
python benchmarks/startup.py --install    peers into environments of their own first (about 1.5 GB)
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Contestant, compare, peer_binary, summary, table, version_of

PYTHON = sys.executable
GPUFORGE = str(Path(PYTHON).parent / "gpuforge")
# package, command, arguments that ask for its version
PEER_COMMANDS = (
    ("skypilot[gcp]", "sky", ["--version"]),
    ("dstack", "dstack", ["--version"]),
    ("torchx", "torchx", ["--version"]),
)
SYSTEM_COMMANDS = (("gcloud", ["--version"]), ("aws", ["--version"]))
# `aws` has no --help, only a pager over groff
HELP = {"aws": ["configure", "list"]}
BANNED = ("google.cloud", "boto3", "paramiko", "pydantic", "rich")


def modules(code: str) -> set[str]:
    """Names of the modules loaded after ``code``."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([PYTHON, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def peak(code: str) -> float:
    """Peak memory in MB of a Python that ran ``code``; a child's is never below its parent's."""
    script = f"import resource\n{code}\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    # through a shell, whose own memory is small
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1"; :', PYTHON, script], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / (1 << 20 if sys.platform == "darwin" else 1024)


def peers(*, install: bool) -> list[tuple[str, str]]:
    """``(name, path)`` of every peer that is there."""
    found = []
    for package, command, asks in PEER_COMMANDS:
        path = peer_binary(package, command, install=install)
        if path:
            print(f"peer  {command}: {version_of([path, *asks])}")
            found.append((command, path))
        else:
            print(f"peer  {command}: not installed (--install)")
    for command, asks in SYSTEM_COMMANDS:
        path = shutil.which(command)
        print(f"peer  {command}: {version_of([path, *asks]) if path else 'not on PATH'}")
        if path:
            found.append((command, path))
    return found


def main() -> None:
    """Print a table per command, then the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="install peers under benchmarks/.peers")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"own   {version_of([GPUFORGE, '--version'])} on {sys.version.split()[0]}")
    others = peers(install=options.install)
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "GPUFORGE_HOME": home, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
        bare = [PYTHON, "-c", "pass"]
        for title, arguments in (("--help", ["--help"]), ("--version", ["--version"])):
            print(f"\n{title}")
            field = [Contestant("python", bare, env), Contestant("gpuforge", [GPUFORGE, *arguments], env)]
            for name, path in others:
                asked = HELP.get(name, arguments) if title == "--help" else arguments
                field.append(Contestant(name, [path, *asked], env))
            compare(field, rounds=options.rounds)
            table(field, against="python")
            own = field[1]
            figures[f"{title.strip('-')}_x_python"] = f"{own.median('wall') / field[0].median('wall'):.1f}"
            if title == "--help":
                figures["help_mb"] = f"{own.median('megabytes'):.0f}"
                lightest = min((c.median("megabytes") for c in field[2:]), default=float("nan"))
                fastest = min((c.median("wall") for c in field[2:]), default=float("nan"))
                figures["lightest_peer_mb"] = f"{lightest:.0f}"
                figures["fastest_peer_x_own"] = f"{fastest / own.median('wall'):.1f}"
        print("\nstatus, import")
        field = [
            Contestant("python", bare, env),
            Contestant("status", [GPUFORGE, "status"], env),
            Contestant("import gpuforge", [PYTHON, "-c", "import gpuforge"], env),
        ]
        compare(field, rounds=options.rounds)
        table(field, against="python")
        figures["status_x_python"] = f"{field[1].median('wall') / field[0].median('wall'):.1f}"
        figures["import_mb_above_python"] = f"{peak('import gpuforge') - peak('pass'):.1f}"
    loaded = modules("import gpuforge")
    figures["import_modules"] = len(loaded - modules("pass"))
    figures["import_banned"] = ",".join(b for b in BANNED if b in loaded) or "none"
    print()
    summary("startup", **figures)


if __name__ == "__main__":
    main()
