"""Where gpuforge keeps its files: the platform's folders, or all of it under ``GPUFORGE_HOME``."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Paths"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Every path of ours is a property here; path strings are built nowhere else.

    Attributes:
        config: Settings the user edits.
        state: Journal, clusters, the simulated cloud; losing it costs knowledge, never a machine.
        cache: Rebuildable.
    """

    config: Path
    state: Path
    cache: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """The platform's folders, or all under ``GPUFORGE_HOME``."""
        env = os.environ if environ is None else environ
        home = env.get("GPUFORGE_HOME")
        if home:
            root = Path(home).expanduser().absolute()
            return cls(config=root, state=root / "state", cache=root / "cache")
        import platformdirs  # noqa: PLC0415 - start-up cost

        dirs = platformdirs.PlatformDirs("gpuforge", appauthor=False)
        return cls(
            config=Path(dirs.user_config_dir),
            state=Path(dirs.user_state_dir),
            cache=Path(dirs.user_cache_dir),
        )

    @property
    def settings_file(self) -> Path:
        """The user's settings."""
        return self.config / "config.toml"

    @property
    def journal(self) -> Path:
        """The journal's database."""
        return self.state / "journal.sqlite3"

    @property
    def journal_head(self) -> Path:
        """Sequence number and hash of the journal's last row, kept outside it."""
        return self.state / "journal.head"

    @property
    def locks(self) -> Path:
        """One lock file per cluster."""
        return self.state / "locks"

    @property
    def stockouts(self) -> Path:
        """Stock-outs met in the last minutes."""
        return self.state / "stockouts.json"

    @property
    def clusters(self) -> Path:
        """One folder per cluster."""
        return self.state / "clusters"

    def cluster(self, name: str) -> Path:
        """Key, known_hosts, ssh_config, manifests and job records of one cluster."""
        return self.clusters / name

    @property
    def simcloud(self) -> Path:
        """The simulated cloud's state and machines."""
        return self.state / "simcloud"

    @property
    def sockets(self) -> Path:
        """A short private folder for SSH control sockets (a socket path holds about 100 bytes)."""
        tag = hashlib.sha256(str(self.state).encode()).hexdigest()[:8]
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(base) / f"gpuforge-{os.getuid()}-{tag}"
