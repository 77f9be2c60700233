"""Tell a bot what went before a session, in the slots that its domain has for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import chat_context

DAY_SECONDS = 24 * 3600.0


def context_slots(
    before: Sequence[StoredMessage], chat: Chat, *, began_at: float, limit: int
) -> dict[str, Any]:
    """Return the ``whatsapp_*`` slots of a session; ``before`` is what was said before it, oldest first.

    They speak of the time before the session, also when they are set in the middle of it because history came
    late; so they stay the same for the whole session.
    """
    last_at = max((_said_at(message) for message in before), default=None)
    days = None if last_at is None else round(max(began_at - last_at, 0.0) / DAY_SECONDS, 2)
    return {
        "whatsapp_history": chat_context(before, limit),
        "whatsapp_customer_name": chat.name,
        "whatsapp_returning_customer": bool(before),
        "whatsapp_days_since_last_contact": days,
    }


def _said_at(message: StoredMessage) -> float:
    """Return when something was said, which is never after we heard of it."""
    return min(message.sent_at or message.received_at, message.received_at)
