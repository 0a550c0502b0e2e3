"""The task: what a user asks for, as pydantic models with the exact keys of ``gpuforge.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack

from pydantic import Field, PrivateAttr, ValidationError

from gpuforge.models.ids import slug
from gpuforge.spec import fields as kinds
from gpuforge.spec.context import Context
from gpuforge.spec.document import Document
from gpuforge.spec.environment import Envs, Secrets
from gpuforge.spec.files import FileMount, FileMounts, Outputs, Workdir
from gpuforge.spec.keys import foreign_file
from gpuforge.spec.mistakes import KeyPath, Origins, Refusal, spec_error
from gpuforge.spec.needs import needs_of, place_of
from gpuforge.spec.overrides import Overrides, apply_overrides
from gpuforge.spec.prepare import canonical, clashes, gather_labels
from gpuforge.spec.refusals import refusals_of
from gpuforge.spec.resources import Alternative, Placed, Resources
from gpuforge.spec.source import read_source

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gpuforge.errors import Mistake
    from gpuforge.models.resources import Mark, Needs

__all__ = ["Alternative", "FileMount", "Resources", "Task", "TaskKeys"]


class TaskKeys(TypedDict, total=False):
    """The keywords of :class:`Task`; every value may also be written as in a task file."""

    name: str | None
    labels: Mapping[str, str]
    infra: str | None
    cloud: str | None
    region: str | None
    zone: str | None
    resources: Mapping[str, Any] | Resources
    num_nodes: int
    envs: Mapping[str, str | float | None] | list[str]
    secrets: Mapping[str, Any] | list[str]
    workdir: str | Path | None
    file_mounts: Mapping[str, str | Path]
    setup: str
    run: str
    launcher: Literal["plain", "torchrun"]
    outputs: list[str] | tuple[str, ...]
    max_duration: Any
    max_cost: Any


class Task(Placed):
    """What to run, on what, and for how long and how much at most.

    From a file with :meth:`from_yaml`, or from keywords that are the file's keys::

        Task(run="python train.py", workdir=".", resources={"accelerators": "L4:1"})

    Raises:
        SpecError: With every mistake at once, each with its place.
    """

    name: kinds.Name | None = None
    """Name of the task, and of its cluster unless another is given."""
    labels: kinds.Labels = Field(default_factory=dict)
    """Labels put on every instance, beside gpuforge's own; those under resources are among them."""
    resources: Resources = Field(default_factory=Resources)
    """What each node must have."""
    num_nodes: kinds.NumNodes = 1
    """Number of equal nodes; run starts on each."""
    envs: Envs = Field(default_factory=dict)
    """Environment of setup and run, as written; an empty value must come from --env or your environment."""
    secrets: Secrets = Field(default_factory=dict)
    """As envs, but never shown, logged or stored; an empty value comes from your environment."""
    workdir: Workdir = None
    """Local folder copied to every node, where setup and run start; relative to where gpuforge is called."""
    file_mounts: FileMounts = ()
    """More local files and folders to copy: path on the node, then local path."""
    setup: kinds.Script = ""
    """Bash lines that prepare a node, before run."""
    run: kinds.Script = ""
    """Bash lines to run on every node."""
    launcher: kinds.Launcher = "plain"
    """How run is started: plain, or torchrun, which lets a bare torchrun span all nodes."""
    outputs: Outputs = ()
    """Paths or globs under the workdir that come back when the job ends."""
    max_duration: kinds.Duration | None = None
    """The cloud deletes the machines after this long, such as 6h, 90m or 1d12h; 6h when not said."""
    max_cost: kinds.Money | None = None
    """Refuse to start when the worst case until the deadline costs more US dollars."""

    _origins: Origins = PrivateAttr(default_factory=Origins)
    _source: Path | None = PrivateAttr(default=None)
    _folder: str = PrivateAttr(default="")
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    def __init__(self, **keys: Unpack[TaskKeys]) -> None:
        self._fill(Document(values=dict(keys), origins=Origins()), Context.of_process())

    @classmethod
    def from_document(
        cls,
        document: Document,
        context: Context,
        *,
        overrides: Overrides | None = None,
        source: Path | None = None,
    ) -> Self:
        """A task from what a file says and what flags say over it.

        Raises:
            SpecError: With every mistake at once.
        """
        task = cls.__new__(cls)
        task._fill(document, context, overrides=overrides, source=source)  # noqa: SLF001 - in place of __init__
        return task

    @classmethod
    def from_yaml(cls, path: str | Path = "gpuforge.yaml", **overrides: Any) -> Self:
        """Read a task file.

        Args:
            path: The file.
            **overrides: Fields of :class:`gpuforge.spec.overrides.Overrides`, which win over the file.

        Raises:
            SpecError: With every mistake at once.
        """
        context = Context.of_process()
        document, source = read_source(path, cwd=context.cwd)
        return cls.from_document(document, context, overrides=Overrides(**overrides), source=source)

    def _fill(
        self,
        document: Document,
        context: Context,
        *,
        overrides: Overrides | None = None,
        source: Path | None = None,
    ) -> None:
        origins = document.origins
        foreign = foreign_file(document.values)
        if foreign is not None:
            raise spec_error(origins, [Refusal(message=foreign, at=("type",))])
        values, clashing = canonical(document.values, origins)
        if overrides is not None:
            apply_overrides(values, overrides, origins)
        refusals = [*document.refusals, *clashing, *clashes(values)]
        gather_labels(values, origins)
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self, context=context)
        except ValidationError as error:
            refusals.extend(refusals_of(error, _allowed, _ELSEWHERE))
        if refusals:
            # not chained to pydantic's error, which holds the values, secrets among them
            raise spec_error(origins, refusals)
        self._origins = origins
        self._source = source
        self._folder = context.cwd.name
        self._note_workdir(context)
        notes = [origins.mistake(Refusal(message=note.message, at=note.at)) for note in context.notes]
        self._warnings = tuple(f"{note.where}: {note.message}" for note in notes)

    def _note_workdir(self, context: Context) -> None:
        if self.workdir is None or self._source is None:
            return
        folder = self._source.parent
        if self.workdir.resolve() != folder.resolve():
            context.note(
                f"the workdir is {self.workdir}, not the task file's folder {folder}", at=("workdir",)
            )

    @property
    def source(self) -> Path | None:
        """The file it came from, absolute; ``None`` for a task made in Python or by flags alone."""
        return self._source

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know although nothing is wrong, each with its place."""
        return self._warnings

    @property
    def provider(self) -> str | None:
        """The provider asked for, or ``None`` for the one of the settings."""
        named = [place_of(self, self.resources).provider, *(item.cloud for item in self._alternatives())]
        named.extend(item.infra.provider for item in self._alternatives() if item.infra is not None)
        return next((name for name in named if name is not None), None)

    def _alternatives(self) -> tuple[Alternative, ...]:
        return self.resources.any_of or self.resources.ordered or ()

    @property
    def autostop_minutes(self) -> int | Literal["default"] | None:
        """Idle minutes until a machine deletes itself; ``None`` is off, ``"default"`` asks the settings."""
        return self.resources.autostop

    def autostop_or(self, default: int | None) -> int | None:
        """Idle minutes as the task says, else ``default`` (the settings')."""
        return default if self.resources.autostop == "default" else self.resources.autostop

    def cluster_name(self) -> str:
        """The task's name, else that of the folder gpuforge was called in, as a cluster's name."""
        return slug(self.name or self._folder)

    def in_region(self, region: str | None) -> Self:
        """The task in the settings' region, where it names no place itself."""
        places: list[Placed] = [self, self.resources, *self._alternatives()]
        if region is None or any(p.infra or p.cloud or p.region or p.zone for p in places):
            return self
        return self.model_copy(update={"region": region})

    def needs(self) -> Needs:
        """Every acceptable kind of node; GPU names as written, for the catalogue to read."""
        return needs_of(self, self.resources, self._origins)

    def mark(self, keypath: str) -> Mark | None:
        """Where ``resources.accelerators`` (say) stands in the file, or the nearest key around it.

        ``None`` when a flag said it, or when there is no file.
        """
        return self._origins.mark(_path(keypath))

    def mistake(self, keypath: str, message: str) -> Mistake:
        """A mistake at ``keypath``, placed in the file or at the flag that said it."""
        return self._origins.mistake(Refusal(message=message, at=_path(keypath)))


def _path(keypath: str) -> KeyPath:
    return tuple(int(part) if part.isdigit() else part for part in keypath.split("."))


def _allowed(path: KeyPath) -> Collection[str]:
    if len(path) == 1:
        return Task.model_fields.keys()
    return Resources.model_fields.keys() if len(path) == 2 else Alternative.model_fields.keys()


_ELSEWHERE: Mapping[str, Collection[str]] = {
    'under "resources"': Resources.model_fields.keys(),
    "at the top of the file": Task.model_fields.keys(),
}
