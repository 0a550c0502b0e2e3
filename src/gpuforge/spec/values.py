"""The grammars of single values: GPUs, ranges, sizes, spans, money, places.

Pure functions from text to values of ``models``; a mistake is a ``ValueError`` whose text tells the fix.
Nothing here knows YAML, files or pydantic, so settings and flags use it too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from gpuforge.models.resources import Accelerator, Bound
from gpuforge.spec.wording import quoted

__all__ = [
    "LONGEST_DURATION",
    "NAME",
    "Place",
    "format_duration",
    "parse_accelerator",
    "parse_cpus",
    "parse_disk_gib",
    "parse_duration",
    "parse_infra",
    "parse_memory_gib",
    "parse_money",
    "parse_name",
    "parse_provider",
]

# GCE's longest run of an instance, read 2026-11 at
# https://cloud.google.com/compute/docs/instances/limit-vm-runtime
LONGEST_DURATION = timedelta(days=120)
_MOST_GPUS = 1024
_LARGEST_DISK_GIB = 65536  # GCE's and EC2's largest volume is 64 TiB
_DIGITS = re.compile(r"[1-9][0-9]{0,8}")
_GPU_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_GPU_MEMORY = re.compile(
    r"(?i)(?:[a-z]+:)?(?:\d+(?:\.\d+)?\s*[gmt]i?b?)?(?:\.\.)?\d+(?:\.\d+)?\s*[gmt]i?b?(?:\+|\.\.)?(?::\d+)?"
)
_SIZE = re.compile(r"((?:0|[1-9]\d{0,8})(?:\.\d{1,6})?)\s*(?:([MGT])(?:i?B)?)?", re.IGNORECASE)
_GIB = {"M": Decimal(1) / 1024, "G": Decimal(1), "T": Decimal(1024)}
_SPAN = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")
_MONEY = re.compile(r"(?:0|[1-9]\d{0,11})(?:\.\d{1,6})?")
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def parse_accelerator(text: str) -> Accelerator:
    """``A100``, ``A100:8``: a GPU's name as written and how many per node, one when not said.

    Raises:
        ValueError: The text is another form, such as an amount of memory or a TPU.
    """
    text = text.strip()
    if not text:
        raise ValueError("name a GPU, such as L4 or A100:8")
    if text.casefold().startswith("tpu"):
        raise ValueError(f"{quoted(text)}: TPUs are out of scope")
    if text.isdigit():
        raise ValueError(
            f"{quoted(text)} says how many GPUs but not which; write NAME:COUNT, such as L4:{text}"
        )
    if _GPU_MEMORY.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} asks for an amount of memory; name the GPU instead "
            "(gpuforge gpus lists each with its memory)"
        )
    name, colon, count = text.partition(":")
    if not _GPU_NAME.fullmatch(name):
        raise ValueError(f"{quoted(text)} is not a GPU; write NAME or NAME:COUNT, such as L4 or A100:8")
    return Accelerator(name, count=_gpu_count(count, text) if colon else 1)


def _gpu_count(count: str, text: str) -> int:
    if not _DIGITS.fullmatch(count) or int(count) > _MOST_GPUS:
        raise ValueError(
            f"{quoted(text)}: the count after the colon is a whole number of GPUs from 1 to {_MOST_GPUS}"
        )
    return int(count)


def parse_cpus(text: str) -> Bound:
    """``4`` (exactly), ``4+`` or ``4..`` (at least), ``4..8``, ``..8``: vCPUs per node.

    Raises:
        ValueError: Another form.
    """
    hint = "write 4 (exactly), 4+ (at least) or 4..8"
    low, high = _ends(text, hint)
    for end in (low, high):
        if end and not _DIGITS.fullmatch(end):
            raise ValueError(f"{quoted(text)} is not a number of vCPUs; {hint}")
    return _bound(text, Decimal(low) if low else None, Decimal(high) if high else None)


def parse_memory_gib(text: str) -> Bound:
    """``32``, ``32GB+``, ``32..64GB``, ``0.5TB``: GiB of memory per node; GB and GiB are read alike.

    Raises:
        ValueError: Another form.
    """
    hint = "write 32GB (exactly), 32GB+ (at least) or 32GB..64GB"
    if text.strip().casefold().endswith("x"):
        raise ValueError(f"{quoted(text)}: multiples of the vCPUs are not read; {hint}")
    low, high = _ends(text, hint)
    return _bound(text, _size(low, text, hint), _size(high, text, hint))


def _ends(text: str, hint: str) -> tuple[str, str]:
    """Both ends of a range as text; an empty end is open."""
    stripped = text.strip()
    low, dots, high = stripped.partition("..")
    if dots:
        low, high = low.strip(), high.strip()
    elif stripped.endswith("+"):
        low = stripped[:-1].strip()
    else:
        high = low
    if not low and not high:
        raise ValueError(f"{quoted(text)} is not an amount; {hint}")
    return low, high


def _bound(text: str, low: Decimal | None, high: Decimal | None) -> Bound:
    if low is not None and high is not None and low > high:
        raise ValueError(f"{quoted(text)} begins above its end; write the smaller number first")
    return Bound(minimum=low, maximum=high)


def _size(end: str, text: str, hint: str) -> Decimal | None:
    if not end:
        return None
    match = _SIZE.fullmatch(end)
    if match is None or not Decimal(match[1]):
        raise ValueError(f"{quoted(text)} is not an amount of memory; {hint}")
    return (Decimal(match[1]) * _GIB[(match[2] or "G").upper()]).normalize() + 0


def parse_disk_gib(text: str) -> int:
    """``100``, ``100GB``, ``1TB``: whole GiB of boot disk.

    Raises:
        ValueError: Another form, or not between 1 GB and 64 TB.
    """
    match = _SIZE.fullmatch(text.strip())
    size = Decimal(match[1]) * _GIB[(match[2] or "G").upper()] if match else Decimal(0)
    if size != size.to_integral_value() or not 1 <= size <= _LARGEST_DISK_GIB:
        raise ValueError(
            f"{quoted(text)} is not a disk size; write whole GB from 1 to {_LARGEST_DISK_GIB}, such as 100"
        )
    return int(size)


def parse_duration(text: str) -> timedelta:
    """``6h``, ``90m``, ``1d2h``, ``30s``: a span, largest unit first.

    Raises:
        ValueError: No unit, another form, nothing at all, or more than 120 days.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError(f'{quoted(text)} has no unit; write "{text}m" for minutes or "{text}h" for hours')
    match = _SPAN.fullmatch(text)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0, 0)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise ValueError(f"{quoted(text)} is not a span of time; write it like 90m, 6h or 1d12h")
    if total > LONGEST_DURATION.total_seconds():
        raise ValueError(
            f"{quoted(text)} is too long; a machine is given back after {LONGEST_DURATION.days}d at most"
        )
    return timedelta(seconds=total)


def format_duration(span: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads as ``span``; fractions of a second are dropped.

    >>> format_duration(timedelta(hours=26))
    '1d2h'
    """
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def parse_money(text: str) -> Decimal:
    """``400`` or ``12.50``: US dollars, more than nothing.

    Raises:
        ValueError: Another form.
    """
    text = text.strip()
    if not _MONEY.fullmatch(text) or not Decimal(text):
        raise ValueError(
            f"{quoted(text)} is not an amount of money; write US dollars above 0, such as 400 or 12.50"
        )
    return Decimal(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to rent; ``None`` means any."""

    provider: str | None = None
    region: str | None = None
    zone: str | None = None


def parse_name(text: str) -> str:
    """A task's name: letters, digits, dots, dashes, underscores.

    Raises:
        ValueError: Another form.
    """
    if not NAME.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} cannot be a name; use up to 63 letters, digits, dots, dashes and underscores, "
            "with a letter or digit at both ends"
        )
    return text


def parse_provider(text: str) -> str:
    """A provider's name in lower case.

    Raises:
        ValueError: It cannot be one.
    """
    name = text.strip().lower()
    if not _PROVIDER.fullmatch(name):
        raise ValueError(f"{quoted(text)} is not a provider's name; write it like fake or gcp")
    return name


def parse_infra(text: str) -> Place:
    """``fake``, ``fake/sim-central1``, ``fake/sim-central1/sim-central1-a``; ``*`` stands for any.

    Raises:
        ValueError: Another form.
    """
    parts = text.strip().split("/")
    if len(parts) > 3 or not all(parts):
        raise ValueError(
            f"{quoted(text)} is not a place; write provider, provider/region or provider/region/zone"
        )
    provider, region, zone = (*parts, "*", "*")[:3]
    for part in (region, zone):
        if part != "*" and not _PLACE.fullmatch(part):
            raise ValueError(f"{quoted(text)} is not a place: {quoted(part)} is not a region or zone")
    return Place(
        provider=None if provider == "*" else parse_provider(provider),
        region=None if region == "*" else region,
        zone=None if zone == "*" else zone,
    )
