"""Tell a bot what went before, in the slots that its domain has for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import chat_context

DAY_SECONDS = 24 * 3600.0


def context_slots(
    recent: Sequence[StoredMessage], chat: Chat, current: StoredMessage, *, limit: int, now: float
) -> dict[str, Any]:
    """Return the ``whatsapp_*`` slots as they are before ``current``; ``recent`` is oldest first."""
    before = [message for message in recent if message.id != current.id]
    last_at = max((message.sent_at or message.received_at for message in before), default=None)
    return {
        "whatsapp_history": chat_context(before, limit),
        "whatsapp_customer_name": chat.name,
        "whatsapp_returning_customer": bool(before),
        "whatsapp_days_since_last_contact": None
        if last_at is None
        else round(max(now - last_at, 0.0) / DAY_SECONDS, 2),
    }
