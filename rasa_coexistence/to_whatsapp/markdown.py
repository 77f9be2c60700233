"""Turn the Markdown of a response into WhatsApp's own formatting.

WhatsApp shows ``*bold*``, ``_italic_``, ``~struck~``, inline code, code blocks, lists and quotes, each within
one line (code blocks excepted) and only at the edges of words. What Markdown would format but WhatsApp would
not, like ``2*3*4``, stays as it was typed.
"""

from __future__ import annotations

import re
from bisect import bisect

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

_MARKERS = {"strong": "*", "em": "_", "s": "~"}
_SPECIAL = re.compile(r"[*_~`\[<\\#]")
_FENCE_OPENS = re.compile(r"[ \t]*```[ \t]*[\w+#.-]*[ \t]*")
_FENCE_CLOSES = re.compile(r"[ \t]*```[ \t]*")
_HEADING = re.compile(r"[ ]{0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_LEAD = re.compile(
    r"[ \t]*(?:>[ \t]?)*(?:(?:[-*•]|\d+[.)])[ \t]+)?"
)  # quote, bullet, number: WhatsApp's own too
_BARE_URL = re.compile(r"://[^\s<>\[\]`]*[^\s<>\[\]`*_~.,;:!?'\")]")
_LINKABLE = re.compile(r"(?:https?|mailto|tel):|www\.", re.IGNORECASE)
_SHOWN_SCHEME = re.compile(r"^(?:mailto|tel):", re.IGNORECASE)  # is for machines; people read what follows


def whatsapp_text(markdown: str) -> str:
    """Rewrite ``markdown``; line ends must be ``\\n``."""
    lines = markdown.split("\n")
    closings = [number for number, line in enumerate(lines) if _FENCE_CLOSES.fullmatch(line)]
    written: list[str] = []
    at = 0
    while at < len(lines):
        end = _fence_end(lines, at, closings)
        if end is None:
            written.append(_line(lines[at]))
            at += 1
        else:
            written += ["```", *lines[at + 1 : end], "```"]
            at = end + 1
    return "\n".join(written)


def _fence_end(lines: list[str], at: int, closings: list[int]) -> int | None:
    """Find the line that closes the code block which line ``at`` opens, if it opens one."""
    if not _FENCE_OPENS.fullmatch(lines[at]):
        return None
    following = bisect(closings, at)
    return closings[following] if following < len(closings) else None


def _line(line: str) -> str:
    if not _SPECIAL.search(line):
        return line
    heading = _HEADING.fullmatch(line)
    if heading and heading[1]:
        return f"*{_inline(heading[1], in_bold=True)}*"
    lead = _LEAD.match(line)
    start = lead.end() if lead else 0
    return line[:start] + _inline(line[start:])


def _inline(text: str, *, in_bold: bool = False) -> str:
    tokens = [token for block in _parser.parseInline(text) for token in block.children or []]
    line = _Line(in_bold)
    for position, token in enumerate(tokens):
        line.add(token, tokens[position + 1] if position + 1 < len(tokens) else None)
    return "".join(line.written)


class _Line:
    """One line as WhatsApp wants it, written token by token."""

    def __init__(self, in_bold: bool) -> None:
        self.written: list[str] = []
        self._open: list[
            tuple[str, int, bool]
        ] = []  # marker, its place in ``written``, whether it may stand there
        self._active: list[str] = ["*"] if in_bold else []
        self._links: list[tuple[int, str]] = []

    def add(self, token: Token, following: Token | None) -> None:
        """Write what ``token`` is in WhatsApp's formatting."""
        kind, _, side = token.type.rpartition("_")
        if kind in _MARKERS and side == "open":
            self._open_marker(_MARKERS[kind])
        elif kind in _MARKERS:
            self._close_marker(token.markup, following)
        elif token.type == "link_open":
            self._links.append((len(self.written), str(token.attrGet("href") or "")))
        elif token.type == "link_close":
            start, url = self._links.pop()
            self.written[start:] = [_link("".join(self.written[start:]), url)]
        elif token.type == "image":
            self.written.append(_link(token.content, str(token.attrGet("src") or "")))
        elif token.type == "code_inline":
            self.written.append(token.markup + token.content + token.markup)
        else:
            self.written.append(token.content)

    def _open_marker(self, marker: str) -> None:
        before = next((piece for piece in reversed(self.written) if piece), "")
        self._open.append((marker, len(self.written), not before[-1:].isalnum()))
        self._active.append(marker)
        self.written.append("")  # written when it closes: only then it is known what it is

    def _close_marker(self, markup: str, following: Token | None) -> None:
        marker, place, stands_free = self._open.pop()
        self._active.pop()
        after = following.content[:1] if following and following.type == "text" else ""
        formatted = "" if marker in self._active else marker
        shown = formatted if stands_free and not after.isalnum() else markup
        self.written[place] = shown
        self.written.append(shown)


def _link(label: str, url: str) -> str:
    shown = _SHOWN_SCHEME.sub("", url)
    if not label.strip() or label in (url, shown):
        return shown
    return f"{label} ({shown})" if shown else label


class _Parser(MarkdownIt):
    """CommonMark's inline rules, with addresses left as they were written."""

    def normalizeLink(self, url: str) -> str:  # noqa: N802  the library's name
        return url

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802  the library's name
        return link

    def validateLink(self, url: str) -> bool:  # noqa: N802  the library's name
        return _LINKABLE.match(url) is not None


def _bare_url(state: StateInline, silent: bool) -> bool:
    """Step over an address, so that a ``*`` or ``_`` in it is not taken for formatting."""
    if not state.src[max(0, state.pos - 5) : state.pos].lower().endswith(("http", "https")):
        return False
    match = _BARE_URL.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.pending += match[0]
    state.pos = match.end()
    return True


_parser = _Parser("zero").enable(
    ["backticks", "emphasis", "strikethrough", "link", "image", "autolink", "escape"]
)
_parser.inline.ruler.after("text", "bare_url", _bare_url)
