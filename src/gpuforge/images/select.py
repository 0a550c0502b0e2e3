"""Which image a name means, among those a provider has, and the rows ``gpuforge images`` shows; all pure."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gpuforge.errors import NotFoundError
from gpuforge.images.families import Family, retired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date

    from gpuforge.models.image import Image

__all__ = ["ImageQuery", "ImageRow", "family_rows", "image_rows", "select_image"]

_DEFAULT_FRAMEWORK = "pytorch"


class _Query(Protocol):
    """The shape of a query, as the provider port has it."""

    @property
    def name(self) -> str | None: ...
    @property
    def arch(self) -> str: ...
    @property
    def needs_gpu(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageQuery:
    """What is wanted of an image; implements :class:`gpuforge.providers.base.ImageQuery`.

    Attributes:
        name: Id, family, framework (``pytorch-2.9``, ``pytorch``), or ``None`` for the default: the newest
            PyTorch image.
        arch: ``x86_64`` or ``arm64``.
        needs_gpu: It must bring a driver.
    """

    name: str | None = None
    arch: str = "x86_64"
    needs_gpu: bool = True


def select_image(images: Iterable[Image], query: _Query, *, today: date | None = None) -> Image:
    """The image a query means: the closest match of its name, and the newest of those.

    Args:
        images: What the provider has.
        query: What is wanted; any object with its three attributes does.
        today: Where given, images whose support has ended are chosen only by their exact id.

    Raises:
        NotFoundError: No such image; ``resolution`` names current ones.
    """
    known = list(images)
    usable = [i for i in known if i.arch == query.arch and (i.driver or not query.needs_gpu)]
    current = [i for i in usable if today is None or i.deprecated is None or i.deprecated >= today]
    if query.name is None:
        found = _by_default(current)
    else:
        found = [i for i in usable if i.id == query.name] or _named(current, query.name)
    if not found:
        raise _not_found(query, known, current)
    return max(found, key=_newness)


def _by_default(images: Sequence[Image]) -> list[Image]:
    return [i for i in images if _kind(i.framework) == _DEFAULT_FRAMEWORK] or list(images)


def _named(images: Sequence[Image], name: str) -> list[Image]:
    asked = _plain(name)
    ways: tuple[Callable[[Image], bool], ...] = (
        lambda image: _plain(image.family) == asked,
        lambda image: _plain(image.framework) == asked,
        lambda image: _kind(image.framework) == asked,
        lambda image: _plain(image.family).startswith(f"{asked}-"),
    )
    for matches in ways:
        found = [image for image in images if asked and matches(image)]
        if found:
            return found
    return []


def _newness(image: Image) -> tuple[object, ...]:
    return (
        _numbers(image.framework),
        _numbers(image.driver),
        _numbers(image.cuda),
        _numbers(image.os),
        image.created,
        image.id,
    )


def _not_found(query: _Query, known: Sequence[Image], current: Sequence[Image]) -> NotFoundError:
    what = f"image {query.name}" if query.name else "default image"
    choices = list(dict.fromkeys(i.family for i in sorted(current, key=_newness, reverse=True)))
    near = difflib.get_close_matches(query.name or "", choices, n=1, cutoff=0.6)
    if near:
        advice = f"did you mean {near[0]}? Or one of: {', '.join(choices[:4])}"
    elif choices:
        advice = f"one of: {', '.join(choices[:4])}; all of them: gpuforge images"
    else:
        advice = "gpuforge images lists what there is"
    return NotFoundError(
        f"there is no {what} for {query.arch}", details=_why(query, known), resolution=advice
    )


def _why(query: _Query, known: Sequence[Image]) -> str:
    name = query.name or ""
    same = [i for i in known if name and (i.id == name or _plain(i.family) == _plain(name))]
    if same:
        image = same[0]
        if image.arch != query.arch:
            return f"{name} is for {image.arch}"
        if query.needs_gpu and not image.driver:
            return f"{name} brings no NVIDIA driver, and the machine has GPUs"
        return f"its support ended on {image.deprecated}"
    old = retired(name) if name else None
    if old is None:
        return f"nothing here is called {name}" if name else ""
    ended = f" on {old.end_of_availability}" if old.end_of_availability else ""
    return f"the family {old.name} was retired{ended} ({old.note})"


def _kind(framework: str) -> str:
    return framework.partition("-")[0].casefold()


def _plain(text: str) -> str:
    return text.strip().casefold().replace(".", "-").replace("_", "-")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", text))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """One line of ``gpuforge images``.

    Attributes:
        name: What to write as ``image:``.
        id: The image itself, or empty while only its family is known.
        status: ``current``, ``old`` (no more patches) or ``retired``.
        supported_until: Last day, if known.
    """

    name: str
    id: str
    framework: str
    cuda: str
    driver: str
    os: str
    arch: str
    status: str
    supported_until: date | None


def image_rows(images: Iterable[Image], text: str = "", *, today: date) -> tuple[ImageRow, ...]:
    """Rows of a provider's images, newest first; ``text`` keeps those that contain it."""
    rows = (
        ImageRow(
            name=image.family or image.id,
            id=image.id,
            framework=image.framework,
            cuda=image.cuda,
            driver=image.driver,
            os=image.os,
            arch=image.arch,
            status="retired" if image.deprecated is not None and image.deprecated < today else "current",
            supported_until=image.deprecated,
        )
        for image in sorted(images, key=_newness, reverse=True)
    )
    return tuple(row for row in rows if _contains(row, text))


def family_rows(families: Iterable[Family], text: str = "") -> tuple[ImageRow, ...]:
    """Rows of a table of families, in its order; ``text`` keeps those that contain it."""
    rows = (
        ImageRow(
            name=family.name,
            id="",
            framework=family.told.framework,
            cuda=family.told.cuda,
            driver=family.told.driver,
            os=family.told.os,
            arch=family.told.arch,
            status=family.status,
            supported_until=family.end_of_availability,
        )
        for family in families
    )
    return tuple(row for row in rows if _contains(row, text))


def _contains(row: ImageRow, text: str) -> bool:
    part = text.strip().casefold()
    return any(part in field.casefold() for field in (row.name, row.id, row.framework, row.os, row.arch))
