"""Fill the web pages in the reader's language."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

PACKAGE = Path(__file__).parent
LANGUAGES = ("en", "es", "pt")  # the first where the browser asks for none of them

_PLACE = re.compile(r"\{\{([\w.]+)\}\}")


def language(accept_language: str | None) -> str:
    """Return the language of ours that a browser likes best."""
    wanted: list[tuple[float, str]] = []
    for part in (accept_language or "").split(","):
        tag, _, quality = part.strip().partition(";q=")
        name = tag.partition("-")[0].lower()
        if name in LANGUAGES:
            wanted.append((-_quality(quality), name))
    return min(wanted, key=lambda one: one[0])[1] if wanted else LANGUAGES[0]


def render(folder: str, page: str, spoken: str, values: Mapping[str, Any] | None = None) -> str:
    """Return a page of a folder of this package, each ``{{place}}`` filled with a text or a value, escaped.

    A value that is a mapping is filled in as JSON, to be read out of a ``<script type="application/json">``.
    """
    known: dict[str, Any] = {**texts(folder, spoken), "language": spoken, **(values or {})}
    return _PLACE.sub(lambda place: _shown(known[place[1]]), source(folder, page))


@lru_cache
def texts(folder: str, spoken: str) -> dict[str, str]:
    """Return the texts of a folder's pages in a language."""
    every = msgspec.json.decode(source(folder, "texts.json"), type=dict[str, dict[str, str]])
    return every[spoken]


@lru_cache
def source(folder: str, name: str) -> str:
    """Return a file of a folder of this package."""
    return (PACKAGE / folder / name).read_text(encoding="utf-8")


def _quality(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        encoded = msgspec.json.encode(value).decode()
        return encoded.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return html.escape(str(value))
