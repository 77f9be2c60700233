"""One thing that was looked at, and how it stands."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class Level(str, Enum):
    """How a thing stands."""

    OK = "ok"
    WARNING = "warning"  # it works, but something can be lost or is not known
    FAILURE = "failure"  # it does not work, or the one-shot history would be lost


class Line(Struct, frozen=True, kw_only=True):
    """What one check came to."""

    check: str
    level: Level
    text: str
    remedy: str | None = None
    phone_number_id: str | None = None  # None: not about one number


def ok(check: str, text: str, *, number: str | None = None) -> Line:
    """Return a line about what is as it should be."""
    return Line(check=check, level=Level.OK, text=text, phone_number_id=number)


def warning(check: str, text: str, remedy: str, *, number: str | None = None) -> Line:
    """Return a line about what works and should be minded."""
    return Line(check=check, level=Level.WARNING, text=text, remedy=remedy, phone_number_id=number)


def failure(check: str, text: str, remedy: str, *, number: str | None = None) -> Line:
    """Return a line about what does not work."""
    return Line(check=check, level=Level.FAILURE, text=text, remedy=remedy, phone_number_id=number)


def parted(check: str, sentence: str, *, level: Level, number: str | None = None) -> Line:
    """Return a line of a sentence that says its remedy after a semicolon or colon, as ours do."""
    text, remedy = sentence, None
    for mark in ("; ", ": "):
        if mark in sentence:
            text, _, remedy = sentence.rpartition(mark)
            break
    return Line(check=check, level=level, text=text, remedy=remedy, phone_number_id=number)
