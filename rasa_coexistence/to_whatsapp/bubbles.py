"""The shape of one outgoing message, and the plain ones among them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from rasa_coexistence.events import JSON
from rasa_coexistence.to_whatsapp import text_limits
from rasa_coexistence.to_whatsapp.media_kinds import Media

_DEEPEST = 32  # levels of nesting that a response may have
_INTEGERS = 2**63


class Bubble(Struct, frozen=True, kw_only=True):
    """One message as it will leave."""

    body: JSON  # for POST /messages, less messaging_product, recipient and biz_opaque_callback_data
    text: str  # what a person would read
    payloads: dict[str, str] = field(default_factory=dict)  # button id -> payload that did not fit into it


def text_bubbles(text: str) -> list[Bubble]:
    """Say ``text`` in as many messages as it takes; in none if there is nothing to see."""
    pieces = text_limits.split(text, text_limits.TEXT_BODY)
    return [Bubble(body={"type": "text", "text": {"body": piece}}, text=piece) for piece in pieces]


def media_bubbles(media: Media) -> list[Bubble]:
    """Send a file with its caption, beside it where WhatsApp gives it no room."""
    caption = (media.caption or "").strip()
    if media.kind == "link":
        return text_bubbles("\n".join(filter(None, [caption, media.link])))
    content: JSON = {"id": media.id} if media.id else {"link": media.link}
    if media.filename:
        content["filename"] = media.filename
    if not text_limits.is_blank(caption) and _has_room_for(caption, media.kind):
        content["caption"], caption = caption, ""
    body = {"type": media.kind, media.kind: content}
    return [Bubble(body=body, text=readable(body)), *text_bubbles(caption)]


def _has_room_for(caption: str, kind: str) -> bool:
    return kind != "audio" and text_limits.width(caption) <= text_limits.CAPTION


def readable(body: JSON) -> str:
    """Tell in words what a person sees of a Cloud API body; its type in brackets where there are none."""
    kind = str(body.get("type"))
    content = body.get(kind)
    if not isinstance(content, Mapping):
        return f"[{kind}]"
    found = [
        content.get("body") if kind == "text" else None,
        content.get("caption"),
        content.get("emoji"),
        _inner(content.get("body"), "text"),
    ]
    words = next((word for word in found if isinstance(word, str) and not text_limits.is_blank(word)), None)
    if words is not None:
        return words
    name = content.get("filename") or content.get("name")
    return f"[{kind}: {name}]" if isinstance(name, str) else f"[{kind}]"


def reply_ids(body: JSON) -> list[str]:
    """List the ids and payloads that a press on this message can bring back, in its order."""
    return list(_ids_in([body.get("interactive"), body.get("template")]))


def _ids_in(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        ids = (part.get("payload"), part.get("id") if "title" in part else None)
        yield from (id_ for id_ in ids if isinstance(id_, str))
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _ids_in(inner)


def _inner(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def as_words(value: Any) -> str:
    """Write whatever a domain has where text belongs."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, (Mapping, list)):
        return json.dumps(value, ensure_ascii=False, indent=2) if value else ""
    return str(value)


def as_json(value: Any, depth: int = 0) -> Any:
    """Copy a response into what JSON and databases take, whatever a custom action put into it."""
    if isinstance(value, str):
        return text_limits.clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_INTEGERS <= value < _INTEGERS else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {text_limits.clean(str(key)): as_json(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [as_json(item, depth + 1) for item in value]
        if isinstance(value, (set, frozenset)):
            return [as_json(item, depth + 1) for item in sorted(value, key=str)]
    try:
        return text_limits.clean(str(value))
    except RecursionError:
        return "…"
