"""Make of what people wrote texts that Rasa's readers take for plain text.

Rasa reads ``[x](y)`` as an entity and a leading slash as an intent, and its YAML readers undo escapes of
their own in files of ASCII. Nothing of that can be escaped, so the text gives way: by a space, or a slash.
"""

from __future__ import annotations

import re
import unicodedata

_ANNOTATION = re.compile(r"\](?=[(\[{])")
_NOT_SAID = frozenset({"Cc", "Cs", "Zl", "Zp"})  # categories: controls, half characters, line ends
_INVISIBLE = dict.fromkeys([0xFEFF, 0xFFFE, 0xFFFF])


def plain_line(text: str) -> str:
    """Return what a customer wrote as one line without markup; it can be empty."""
    line = _ANNOTATION.sub("] ", " ".join(_said(text).split()))
    return line.lstrip("/ ")


def quoted(text: str) -> str:
    """Return a text as a YAML scalar, line breaks kept."""
    lines = [_said(line).rstrip() for line in text.splitlines()]
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped).strip() + '"'


def _said(text: str) -> str:
    """Return a text without characters that YAML does not allow."""
    kept = text.translate(_INVISIBLE)
    if kept.isascii() and kept.isprintable():
        return kept
    return "".join(
        " " if unicodedata.category(character) in _NOT_SAID or _is_no_character(character) else character
        for character in kept
    )


def _is_no_character(character: str) -> bool:
    return 0xFDD0 <= ord(character) <= 0xFDEF or ord(character) & 0xFFFE == 0xFFFE
