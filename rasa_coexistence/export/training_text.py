"""Make of what people wrote texts that Rasa's readers take for plain text.

Rasa reads ``[x](y)`` as an entity and a leading slash as an intent, and its YAML readers undo escapes of
their own in files of ASCII. Nothing of that can be escaped, so the text gives way: by a space, or a slash.
"""

from __future__ import annotations

import re

_ANNOTATION = re.compile(r"\](?=[(\[{])")
_NO_CHARACTERS = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
# Controls, half characters, line and paragraph ends, and what Unicode says is no character at all.
_NOT_SAID = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef{_NO_CHARACTERS}]")
_MARK = "\ufeff"  # of a file's beginning, and nothing anywhere else


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
    return _NOT_SAID.sub(" ", text.replace(_MARK, ""))
