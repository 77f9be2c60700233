"""Find out where the file of a message came to."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.events import Content
from rasa_coexistence.ledger.schema import messages


class FilePlace(Struct, frozen=True, kw_only=True):
    """What the ledger knows of a file."""

    phone_number_id: str  # of the business number that it was sent to
    mime_type: str | None
    filename: str | None
    revoked: bool


def file_of(connection: Any, message_id: int, media_id: str) -> FilePlace | None:
    """Return where a message's file came to; None unless the message is here and has this very file."""
    row = connection.execute(sa.select(messages).where(messages.c.id == message_id)).first()
    if row is None or row.content is None:
        return None
    media = msgspec.json.decode(row.content, type=Content).fields.get("media")
    if not isinstance(media, dict) or media.get("id") != media_id:
        return None
    return FilePlace(
        phone_number_id=row.phone_number_id,
        mime_type=media.get("mime_type"),
        filename=media.get("filename"),
        revoked=bool(row.revoked),
    )
