"""Turn a customer's message into what Rasa hears: text, intent and metadata."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from rasa_coexistence.events import JSON, Content
from rasa_coexistence.ledger import bubbles, chats
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.settings import Settings
from rasa_coexistence.to_rasa import message_metadata

REPLIES = frozenset({"interactive", "button"})  # types whose text is the id of something that we offered


class Speech(Struct, frozen=True, kw_only=True):
    """One message as Rasa hears it."""

    wamid: str
    text: str
    typed: bool  # by hand: a leading slash means nothing
    metadata: JSON
    parse_data: JSON | None  # None: let NLU read the text


async def speech_of(
    database: Database, bridge: RasaBridge, settings: Settings, chat: Chat, message: StoredMessage
) -> Speech:
    """Return what Rasa hears of a message."""
    content = message.content or Content(type=message.type, text=message.text)
    metadata = message_metadata(
        message, source="live", phone_number_id=chat.phone_number_id, contact=chat.contact
    )
    await _add_quoted_text(database, chat, metadata)
    text, typed = message.text or f"[{message.type}]", True
    if content.type in REPLIES and not content.typed:
        payload = await database.read(bubbles.payload_of, chat.id, text)
        text, typed = (text, True) if payload is None else (payload, False)
    return Speech(
        wamid=message.wamid,
        text=text,
        typed=typed and not settings.allow_typed_intents,
        metadata={"whatsapp": metadata},
        parse_data=_as_intent(bridge, content, text),
    )


def _as_intent(bridge: RasaBridge, content: Content, text: str) -> JSON | None:
    """Return the parse of a message whose type the domain has an intent for."""
    intent = f"whatsapp_{content.type}"
    if content.type == "text" or not bridge.has_intent(intent):
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
    if content.typed and content.text:
        entities.setdefault("caption", content.text)
    return {name: value for name, value in entities.items() if value is not None}


async def _add_quoted_text(database: Database, chat: Chat, metadata: JSON) -> None:
    context = metadata.get("context")
    if not isinstance(context, dict) or not isinstance(context.get("id"), str):
        return
    quoted = await database.read(chats.quoted, chat.phone_number_id, chat.id, context["id"])
    if quoted is not None:
        who = "business" if quoted.from_business else "customer"
        metadata["context"] = {**context, "text": quoted.text, "role": who}
