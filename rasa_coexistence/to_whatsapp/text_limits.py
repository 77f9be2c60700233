"""Measure, split and shorten text the way WhatsApp's limits want it.

Meta does not say whether it counts code points or UTF-16 units, so the larger of the two counts here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import regex

TEXT_BODY = 4096
CAPTION = 1024
FILENAME = 240  # Meta names no limit; file systems do
BUTTONS_BODY = 1024  # of reply buttons and of a link button
BUTTONS = 3
BUTTON_TITLE = 20
BUTTON_ID = 256
LIST_BODY = 4096
LIST_ROWS = 10
ROW_TITLE = 24
ROW_DESCRIPTION = 72
ROW_ID = 200

_GRAPHEME = regex.compile(r"\X")
_EXTENDS = r"[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]"  # belongs to the character before it
_INVISIBLE = regex.compile(r"[\p{Z}\p{Cc}\p{Cf}\u115f\u1160\u2800\u3164\uffa0\ufe00-\ufe0f]*")
_EDGES = regex.compile(rf"^\s+(?!{_EXTENDS})|\s+$")
_CONTROL = regex.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")  # JSON or PostgreSQL refuse them; nobody sees them
_SURROGATE = regex.compile(r"[\ud800-\udfff]")
_WORD_GAP = regex.compile(r"[^\S\u00a0\u2007\u202f]+")  # no-break spaces hold words together
_LINE_GAP = regex.compile(r"\n\s*")
_PARAGRAPH_GAP = regex.compile(r"\n[^\S\n]*\n\s*")
_GAP_REACH = 64  # how far beyond the limit the gap that ends a piece may go on


def width(text: str) -> int:
    """Count UTF-16 units: an emoji is two of them, or more."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def clean(text: str) -> str:
    """Mend what JSON and databases refuse: halves of surrogates, control characters, odd line ends."""
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n"))


def is_blank(text: str) -> bool:
    """Tell whether a person would see nothing; Meta refuses such a text."""
    return _INVISIBLE.fullmatch(text) is not None


def one_line(text: str) -> str:
    """Put a title on one line, as buttons and rows want it."""
    return " ".join(text.split())


def shorten(text: str, limit: int) -> str:
    """Cut ``text`` to ``limit`` for show, with an ellipsis where something is missing."""
    if width(text) <= limit:
        return text
    return text[: _longest(text, 0, limit - 1)[-1]].rstrip() + "…"


def split(text: str, limit: int) -> list[str]:
    """Cut ``text`` into pieces within ``limit``: between paragraphs, else lines, else words, else characters.

    A character is what a reader takes for one (emoji with its modifiers, letter with its accents). Only white
    space at the cuts is dropped.
    """
    pieces = (_EDGES.sub("", piece) for piece in _pieces(text, limit))
    return [piece for piece in pieces if not is_blank(piece)]


def split_tail(text: str, *, limit: int, tail_limit: int) -> tuple[list[str], str]:
    """Cut ``text`` so that what stays last fits ``tail_limit``; the pieces before it fit ``limit``."""
    pieces = split(text, tail_limit)
    if len(pieces) < 2:
        return [], "".join(pieces)
    tail = pieces[-1]
    return split(text[: text.rindex(tail)], limit), tail


def _pieces(text: str, limit: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = _cut(text, start, limit)
        yield text[start:end]
        start = end


def _cut(text: str, start: int, limit: int) -> int:
    """Find where the piece that begins at ``start`` ends best."""
    if len(text) - start <= limit and width(text[start:]) <= limit:
        return len(text)
    ends = _longest(text, start, limit)
    allowed = set(ends)
    for gap, shortest in ((_PARAGRAPH_GAP, limit // 4), (_LINE_GAP, limit // 4), (_WORD_GAP, 1)):
        cuts = [match.start() for match in gap.finditer(text, start, ends[-1] + _GAP_REACH)]
        cuts = [cut for cut in cuts if cut in allowed and cut - start >= shortest]
        if cuts:
            return cuts[-1]
    return ends[-1]


def _longest(text: str, start: int, limit: int) -> Sequence[int]:
    """List the ends of the characters that fit into ``limit``; one too long for it is cut by code points."""
    if text[start : start + limit + 1].isascii():
        return range(start + 1, min(start + limit, len(text)) + 1)
    ends, used = [], 0
    for match in _GRAPHEME.finditer(text, start):
        used += width(match[0])
        if used > limit:
            break
        ends.append(match.end())
    return ends or [_by_code_points(text, start, limit)]


def _by_code_points(text: str, start: int, limit: int) -> int:
    room = limit
    for end in range(start, len(text)):
        room -= width(text[end])
        if room < 0:
            return max(end, start + 1)
    return len(text)
