"""Tell what a message says, whichever door it came through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rasa_coexistence.events import JSON, Content
from rasa_coexistence.from_whatsapp.loose import as_flag, as_id, as_number, as_object, as_text

_MEDIA = ("image", "video", "audio", "document", "sticker")
_LONGEST_TYPE = 32  # of the ledger's column

_BESIDES = {"context", "referral", "errors"}

Parts = dict[str, Any]  # arguments of Content


def read_content(message: JSON, *, nested: bool = False) -> Content:
    """Return what one message object says; what cannot be read of it is left out, never raised."""
    if message.get("type") == "text" and _BESIDES.isdisjoint(message):  # nearly all there is in a history
        return Content(type="text", text=as_text(as_object(message.get("text")).get("body")))
    kind = _type(message)
    parts = _READERS.get(kind, _read_other)(message, kind)
    if kind == "edit" and not nested:
        parts |= _edited(as_object(message.get("edit")).get("message"))
    around: Parts = {} if nested else _around(message)  # the context of an edit's content is no wamid
    fields = parts.pop("fields", {}) | around.pop("fields", {})
    if parts.get("text") is None and kind != "text":
        parts |= {"text": f"[{kind}]", "typed": False}
    return Content(type=kind, fields=fields, **parts, **around)


def missing_part(content: Content) -> str | None:
    """Say what a message lacks to be acted on, or return None."""
    if content.type == "text":
        return "a text message without text" if content.text is None else None
    if content.type in ("reaction", "edit", "revoke") and content.target is None:
        return f"a message of type {content.type} that does not say which message it is about"
    if content.type == "edit" and (content.replacement is None or missing_part(content.replacement)):
        return "an edit without the new content"
    return None


def is_known(content: Content) -> bool:
    """Tell whether customers were ever documented to send this type."""
    return content.type in _READERS


def _type(message: JSON) -> str:
    """Return Meta's word for what a message is, or the one content that it carries."""
    given = message.get("type")
    kind = given.strip()[:_LONGEST_TYPE] if isinstance(given, str) else ""
    if not kind:
        carried = [name for name in _READERS if isinstance(message.get(name), dict)]
        kind = carried[0] if len(carried) == 1 else "unknown"
    if kind not in _READERS and isinstance(message.get("errors"), list) and message["errors"]:
        return "unsupported"  # older payloads call it "unknown"
    return kind


def _around(message: JSON) -> Parts:
    """Return what stands beside the content: quote, advertisement, errors."""
    around: Parts = {}
    context = message.get("context")
    if isinstance(context, dict) and context:
        around["context"] = _quote(context)
        marks = {key: True for key in ("forwarded", "frequently_forwarded") if as_flag(context.get(key))}
        if marks:
            around["fields"] = marks
    if isinstance(message.get("referral"), dict):
        around["referral"] = message["referral"]
    if isinstance(message.get("errors"), list):
        around["errors"] = [error for error in message["errors"] if isinstance(error, dict)]
    return around


def _quote(context: JSON) -> JSON:
    """Return a context whose ids are strings, whatever they came as."""
    texts = {key: as_text(context[key]) for key in ("id", "from") if key in context}
    rest = {key: value for key, value in context.items() if key not in texts}
    return rest | {key: text for key, text in texts.items() if text}


def _read_text(message: JSON, kind: str) -> Parts:
    return {"text": as_text(as_object(message.get(kind)).get("body"))}


def _read_media(message: JSON, kind: str) -> Parts:
    given = as_object(message.get(kind))
    media: Parts = {}
    for key in ("id", "mime_type", "sha256", "filename", "caption", "url"):
        value = as_id(given.get(key)) if key == "id" else as_text(given.get(key))
        if value:
            media[key] = value
    for key in ("voice", "animated"):
        flag = as_flag(given.get(key))
        if flag is not None:
            media[key] = flag
    parts: Parts = {"fields": {"media": media} if media else {}}
    if "caption" in media:
        return parts | {"text": media["caption"]}
    name = media.get("filename")
    return parts | {"text": f"[{kind}: {name}]" if name else None, "typed": False}


def _read_location(message: JSON, kind: str) -> Parts:
    given = as_object(message.get(kind))
    location: Parts = {}
    for key in ("latitude", "longitude"):
        number = as_number(given.get(key))
        if number is not None:
            location[key] = number
    for key in ("name", "address", "url"):
        text = as_text(given.get(key))
        if text:
            location[key] = text
    return {"fields": {"location": location} if location else {}}


def _read_contacts(message: JSON, kind: str) -> Parts:
    cards = message.get(kind)
    if not isinstance(cards, list):
        return {}
    return {"fields": {"contacts": [card for card in cards if isinstance(card, dict)]}}


def _read_order(message: JSON, kind: str) -> Parts:
    order = as_object(message.get(kind))
    return {"fields": {"order": order}, "text": as_text(order.get("text")) or None}


def _read_button(message: JSON, kind: str) -> Parts:
    """Read the pressed quick reply of a template."""
    button = as_object(message.get(kind))
    return _pressed({"id": button.get("payload"), "title": button.get("text")})


def _read_interactive(message: JSON, kind: str) -> Parts:
    given = as_object(message.get(kind))
    for name in ("button_reply", "list_reply"):
        if isinstance(given.get(name), dict):
            return _pressed(given[name])
    if isinstance(given.get("nfm_reply"), dict):
        return _submitted(given["nfm_reply"])
    # what the business itself sends, in echoes and history
    text = as_text(as_object(given.get("body")).get("text")) or None
    return {"text": text, "typed": False, "fields": {kind: given}}


def _pressed(given: JSON) -> Parts:
    """Read a pressed button or row: its id is the payload, unless it has none."""
    reply = {key: as_text(given.get(key)) for key in ("id", "title", "description")}
    reply = {key: value for key, value in reply.items() if value}
    fields = {"reply": reply} if reply else {}
    if "id" in reply:
        return {"text": reply["id"], "label": reply.get("title"), "typed": False, "fields": fields}
    return {"text": reply.get("title"), "fields": fields}


def _submitted(given: JSON) -> Parts:
    """Read the answer to a Flow: JSON in a string, which may turn out to be none."""
    flow: Parts = {"name": as_text(given.get("name"))}
    response = given.get("response_json")
    try:
        flow["response"] = msgspec.json.decode(response) if isinstance(response, str) else response
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        flow["response_json"] = response
    return {"text": "[flow]", "typed": False, "label": as_text(given.get("body")), "fields": {"flow": flow}}


def _read_reaction(message: JSON, kind: str) -> Parts:
    given = as_object(message.get(kind))
    return {"target": as_id(given.get("message_id"), 1024), "emoji": as_text(given.get("emoji")) or None}


def _read_target(message: JSON, kind: str) -> Parts:
    """Read which message an edit or a revoke is about."""
    return {"target": as_id(as_object(message.get(kind)).get("original_message_id"), 1024)}


def _edited(message: Any) -> Parts:
    if not isinstance(message, dict):
        return {}
    replacement = read_content(message, nested=True)
    return {"replacement": replacement, "text": replacement.text, "typed": replacement.typed}


def _read_system(message: JSON, kind: str) -> Parts:
    given = as_object(message.get(kind))
    return {"text": as_text(given.get("body")), "typed": False, "fields": {kind: given} if given else {}}


def _read_unsupported(message: JSON, kind: str) -> Parts:
    given = as_object(message.get(kind)) or {"type": as_text(message.get("type"))}
    return {"fields": {kind: given}}


def _read_placeholder(message: JSON, kind: str) -> Parts:
    return {}


def _read_other(message: JSON, kind: str) -> Parts:
    """Read a type that Meta has not told us about: its media, if it has any."""
    return _read_media(message, kind) if "mime_type" in as_object(message.get(kind)) else {}


_READERS: dict[str, Callable[[JSON, str], Parts]] = {
    "text": _read_text,
    **dict.fromkeys(_MEDIA, _read_media),
    "location": _read_location,
    "contacts": _read_contacts,
    "order": _read_order,
    "button": _read_button,
    "interactive": _read_interactive,
    "reaction": _read_reaction,
    "edit": _read_target,
    "revoke": _read_target,
    "system": _read_system,
    "unsupported": _read_unsupported,
    "media_placeholder": _read_placeholder,
}
