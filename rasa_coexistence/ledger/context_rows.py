"""Find what was said in a conversation before a moment."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence.ledger import chats
from rasa_coexistence.ledger.schema import messages
from rasa_coexistence.records import StoredMessage

NOT_SAID = ("reaction", "edit", "revoke", "system", "unsupported")


def said_before(
    connection: Any, conversation_id: int, moment: float | None, *, limit: int, but: int
) -> list[StoredMessage]:
    """Return the newest messages of both sides that are older than a moment, oldest first.

    ``but`` is the id of a message that does not count; without a moment, what came after it counts neither.
    """
    said_at = sa.func.coalesce(messages.c.sent_at, messages.c.received_at)
    is_before = messages.c.id < but if moment is None else said_at < moment
    rows = connection.execute(
        sa.select(messages)
        .where(
            messages.c.conversation_id == conversation_id,
            messages.c.id != but,
            messages.c.type.notin_(NOT_SAID),
            messages.c.revoked.is_(False),
            is_before,
        )
        .order_by(said_at.desc(), messages.c.id.desc())
        .limit(limit)
    ).all()
    return [chats.stored_message(row) for row in reversed(rows)]
