"""Know our own messages when they come back as an echo, as history or as a quote."""

from __future__ import annotations

from typing import Any

from rasa_coexistence import takeover
from rasa_coexistence.events import Content
from rasa_coexistence.ledger import chats, held_back, history_rows, message_rows, takeovers
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.records import MessageState


def remember(connection: Any, chat: Chat, row: Any, wamid: str, rules: takeover.Rules, *, now: float) -> bool:
    """Write down what Meta calls an outgoing message; return whether its echo was faster than Meta's answer.

    ``chat`` is locked: somebody may be filing that echo just now; ``row`` is the message's in the outbox.
    """
    known = message_rows.find(connection, chat.phone_number_id, chat.id, wamid, from_business=True)
    echo_was_first = known is not None and known.source == takeovers.PHONE
    if echo_was_first:
        message_rows.change(connection, known.id, source="bot", state=MessageState.KEPT.value)
        takeovers.undo(connection, chat.id, known.wamid, rules, now=now)
        chat = chats.load(connection, chat.id)
    elif known is not None and known.source == history_rows.HISTORY:  # the tracker has it as the bot's own
        message_rows.change(connection, known.id, source="bot")
        history_rows.left(connection, known.conversation_id, now=now)
    elif known is None:
        message_rows.insert(
            connection,
            phone_number_id=chat.phone_number_id,
            conversation_id=chat.id,
            wamid=wamid,
            from_business=True,
            source="bot",
            state=MessageState.KEPT,
            content=Content(type="text", text=plain(row.text)),
            raw=None,
            sent_at=now,
            received_at=now,
        )
    after_doubt(connection, chat, now=now)
    return echo_was_first


def after_doubt(connection: Any, chat: Chat, *, now: float) -> None:
    """Do what had to wait until it was known whether a message from the phone is one of ours."""
    if takeover.in_force(chat.takeover, now) and not held_back.is_in_doubt(connection, chat.id):
        held_back.hold_back(connection, chat.id, chat.takeover, now=now)
