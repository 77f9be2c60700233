"""Write what was said as JSON lines: one message a line, oldest first within its conversation."""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec

from rasa_coexistence.events import JSON
from rasa_coexistence.export.masking import Mask, region_of
from rasa_coexistence.ledger.transcripts import Talk, said_at
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import role_of

_OPEN = ("location", "contacts", "order")  # where and who somebody is: only shown as it is
_OF_MEDIA = ("mime_type", "filename", "caption", "voice", "animated")  # the others open or name the file


def line(talk: Talk, message: StoredMessage, mask: Mask) -> bytes:
    """Return a message as a line; keys without a value are left out, but ``text``."""
    told = _told(talk, message, mask)
    kept = {name: value for name, value in told.items() if value is not None or name == "text"}
    return msgspec.json.encode(kept) + b"\n"


def _told(talk: Talk, message: StoredMessage, mask: Mask) -> JSON:
    moment, region = said_at(message), region_of(talk.display_phone_number)
    content = message.content
    quoted = (content.context or {}).get("id") if content is not None else None
    target = content.target if content is not None else None

    def masked(text: str | None) -> str | None:
        return None if text is None else mask.text(text, region=region)

    return {
        "conversation": mask.conversation(talk.sender_id),
        "phone_number_id": talk.phone_number_id,
        "name": None if mask.is_on else talk.name,
        "role": role_of(message),
        "source": message.source,
        "type": message.type,
        "text": None if message.revoked else masked(message.text),
        "label": masked(content.label) if content is not None else None,
        "timestamp": moment,
        "time": datetime.fromtimestamp(moment, timezone.utc).isoformat(),
        "wamid": mask.wamid(message.wamid),
        "status": message.status,
        "quoted": mask.wamid(quoted) if isinstance(quoted, str) else None,
        "target": mask.wamid(target) if target is not None else None,
        "emoji": masked(content.emoji) if content is not None else None,
        "edited_from": None if message.revoked else masked(message.edited_text),
        "revoked": message.revoked or None,
        "intent": ((message.parse or {}).get("intent") or {}).get("name"),
        **_fields(message, mask, region),
    }


def _fields(message: StoredMessage, mask: Mask, region: str | None) -> JSON:
    """Return what a message has besides text; masked, only what names nobody and opens nothing."""
    if message.content is None or message.revoked:
        return {}
    fields = message.content.fields
    shown = {} if mask.is_on else {name: fields[name] for name in _OPEN if name in fields}
    media = fields.get("media")
    if isinstance(media, dict):
        kept = _OF_MEDIA if mask.is_on else media.keys() - {"url"}
        shown["media"] = {name: _masked(media[name], mask, region) for name in media if name in kept}
    return shown


def _masked(value: object, mask: Mask, region: str | None) -> object:
    return mask.text(value, region=region) if isinstance(value, str) else value
