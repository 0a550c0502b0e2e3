"""Numbers as people read them: every one with its unit."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

__all__ = ["ago", "clock_time", "counted", "from_home", "span", "until"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def counted(count: int, noun: str) -> str:
    """``1 file``, ``1,042 files``, ``2 entries``.

    >>> counted(1, "file"), counted(1042, "file"), counted(2, "entry")
    ('1 file', '1,042 files', '2 entries')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") else f"{count:,} {noun}s"


def from_home(path: Path) -> str:
    """``~/src/train`` for what lies in the home folder."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


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
