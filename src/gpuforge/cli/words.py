"""Numbers as people read them: every one with its unit."""

from __future__ import annotations

from datetime import datetime, timedelta

__all__ = ["ago", "clock_time", "counted", "size", "span", "until"]

_KILO = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def counted(count: int, noun: str) -> str:
    """``1 file``, ``1,042 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(count: int) -> str:
    """Bytes in decimal units.

    >>> size(3_100_000), size(999)
    ('3.1 MB', '999 B')
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < _KILO:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KILO
    return f"{value:.1f} TB"


def span(length: timedelta) -> str:
    """A length of time in its two largest units.

    >>> span(timedelta(hours=5, minutes=12)), span(timedelta(hours=6)), span(timedelta(seconds=41))
    ('5 h 12 min', '6 h', '41 s')
    """
    seconds = max(0, round(length.total_seconds()))
    if seconds < _MINUTE:
        return f"{seconds} s"
    days, rest = divmod(seconds, _DAY)
    hours, rest = divmod(rest, _HOUR)
    parts = [(days, "d"), (hours, "h"), (rest // _MINUTE, "min")]
    told = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(told[:2])


def clock_time(moment: datetime) -> str:
    """``21:40`` today, ``Thu 21:40`` within a week, else the date; in local time."""
    local = moment.astimezone()
    today = datetime.now().astimezone()
    if local.date() == today.date():
        return local.strftime("%H:%M")
    if abs(local - today) < timedelta(days=6):
        return local.strftime("%a %H:%M")
    return local.strftime("%Y-%m-%d %H:%M")


def until(moment: datetime, now: datetime) -> str:
    """``21:40, in 5 h 12 min``."""
    if moment <= now:
        return f"{clock_time(moment)}, passed"
    return f"{clock_time(moment)}, in {span(moment - now)}"


def ago(moment: datetime, now: datetime) -> str:
    """``2 min ago``."""
    return f"{span(now - moment)} ago"
