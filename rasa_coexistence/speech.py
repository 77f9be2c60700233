"""Turn a customer's message into what Rasa hears: text, intent and metadata."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from rasa_coexistence import media_links
from rasa_coexistence.events import JSON, Content
from rasa_coexistence.ledger import chats, offers
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.settings import Settings
from rasa_coexistence.to_rasa import message_metadata, role_of

_NUMBER = re.compile(r"\s*#?\s*(\d{1,3})\s*[.)]?\s*")
_KEYCAP = str.maketrans("", "", "\ufe0f\u20e3")  # makes an emoji of a digit


class Speech(Struct, frozen=True, kw_only=True):
    """One message as Rasa hears it."""

    wamid: str
    text: str
    typed: bool  # by hand: a leading slash means nothing
    metadata: JSON
    parse_data: JSON | None  # None: let NLU read the text


async def speech_of(
    database: Database,
    bridge: RasaBridge,
    settings: Settings,
    chat: Chat,
    message: StoredMessage,
    *,
    now: float,
) -> Speech:
    """Return what Rasa hears of a message."""
    content = _with_link(message, settings, now)
    metadata = message_metadata(
        replace(message, content=content),
        source="live",
        phone_number_id=chat.phone_number_id,
        contact=chat.contact,
    )
    await _add_quoted_text(database, chat, metadata)
    text = message.text or f"[{message.type}]"
    payload = await _chosen(database, chat, message, content)
    if payload is not None and content.type == "text":
        metadata["label"] = text  # the number that was typed
    return Speech(
        wamid=message.wamid,
        text=text if payload is None else payload,
        typed=payload is None and not settings.allow_typed_intents,
        metadata={"whatsapp": metadata},
        parse_data=_as_intent(bridge, content, text) if payload is None else None,
    )


def _with_link(message: StoredMessage, settings: Settings, now: float) -> Content:
    content = message.content or Content(type=message.type, text=message.text)
    fields = media_links.with_link(
        content.fields,
        base_url=settings.base_url,
        message_id=message.id,
        app_secrets=settings.app_secrets,
        now=now,
    )
    return replace(content, fields=fields)


async def _chosen(database: Database, chat: Chat, message: StoredMessage, content: Content) -> str | None:
    """Return the payload of what the customer chose; None when they chose nothing that we offered."""
    if not content.typed and "reply" in content.fields:
        return await database.read(offers.payload_of, chat.id, message.text or "")
    typed = _NUMBER.fullmatch((message.text or "").translate(_KEYCAP))
    if content.type != "text" or typed is None:
        return None
    return await database.read(
        offers.payload_of_number, chat.id, int(typed.group(1)), typed_at=message.received_at
    )


def _as_intent(bridge: RasaBridge, content: Content, text: str) -> JSON | None:
    """Return the parse of a message whose type the domain has an intent for; a pressed button is text."""
    intent = f"whatsapp_{content.type}"
    if content.type == "text" or "reply" in content.fields or not bridge.has_intent(intent):
        return None
    return {
        "text": text,
        "intent": {"name": intent, "confidence": 1.0},
        "entities": [
            {"entity": name, "value": value, "extractor": "whatsapp", "confidence_entity": 1.0}
            for name, value in _entities(content).items()
        ],
    }


def _entities(content: Content) -> dict[str, Any]:
    """Return a message's fields as entities, named as in the metadata; a media ``id`` is ``media_id``."""
    entities: dict[str, Any] = {}
    for group, value in content.fields.items():
        if isinstance(value, dict):
            entities |= {f"{group}_id" if key == "id" else key: inner for key, inner in value.items()}
        else:
            entities[group] = value
    return {name: value for name, value in entities.items() if value is not None}


async def _add_quoted_text(database: Database, chat: Chat, metadata: JSON) -> None:
    context = metadata.get("context")
    if not isinstance(context, dict) or not isinstance(context.get("id"), str):
        return
    quoted = await database.read(chats.quoted, chat.phone_number_id, chat.id, context["id"])
    if quoted is not None and not quoted.revoked:
        text = quoted.text if quoted.text is not None else f"[{quoted.type}]"
        metadata["context"] = {**context, "text": text, "role": role_of(quoted)}
