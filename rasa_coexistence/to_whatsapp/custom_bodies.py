"""Find the Cloud API body in what a response carries as ``custom``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rasa_coexistence.events import JSON
from rasa_coexistence.to_whatsapp import text_limits
from rasa_coexistence.to_whatsapp.bubbles import Bubble, readable

_FILLED_IN = {"messaging_product", "recipient_type", "to", "recipient", "biz_opaque_callback_data"}
_KINDS = (
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "contacts",
    "reaction",
    "interactive",
    "template",
)


def cloud_api_body(custom: Any) -> JSON | None:
    """Return the body to send, less what the sender fills in; None if ``custom`` is something else."""
    if not isinstance(custom, Mapping):
        return None
    body = {key: value for key, value in custom.items() if key not in _FILLED_IN}
    kind = body.get("type") or _only_kind(body)
    if not isinstance(kind, str) or not isinstance(body.get(kind), (dict, list)) or not body[kind]:
        return None
    return {**body, "type": kind}


def custom_bubbles(body: JSON) -> list[Bubble]:
    """Send a Cloud API body as it is; only text too long for one message is split."""
    text = body["text"].get("body") if body["type"] == "text" and isinstance(body["text"], dict) else None
    if not isinstance(text, str):
        return [Bubble(body=body, text=readable(body))]
    if text_limits.width(text) <= text_limits.TEXT_BODY:
        return [] if text_limits.is_blank(text) else [Bubble(body=body, text=text)]
    pieces = text_limits.split(text, text_limits.TEXT_BODY)
    return [Bubble(body={**body, "text": {**body["text"], "body": piece}}, text=piece) for piece in pieces]


def _only_kind(body: Mapping[str, Any]) -> str | None:
    """Name the content if there is one alone; Meta too lets ``type`` be left out, of a text at least."""
    kinds = [kind for kind in _KINDS if isinstance(body.get(kind), (dict, list))]
    return kinds[0] if len(kinds) == 1 else None
