"""Make one conversation of two that prove to be the same person's."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence import takeover
from rasa_coexistence.ledger import chats, history_rows, queues, takeovers
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.queues import IMPORT, TALK, wake
from rasa_coexistence.ledger.schema import aliases, conversations, messages, payloads
from rasa_coexistence.records import MessageState


def unite(connection: Any, younger_id: int, older_id: int, *, now: float) -> None:
    """Send all that is still to come to the older conversation; what the younger one lived through stays.

    The older one takes over what decides about its next message: who has it, whether the window is open,
    what the buttons mean that the customer still sees.
    """
    older, younger = (chats.lock(connection, id_) for id_ in sorted((younger_id, older_id)))
    _move(connection, younger.id, older.id, now)
    known_as_younger = sa.or_(conversations.c.id == younger.id, conversations.c.merged_into == younger.id)
    connection.execute(conversations.update().where(known_as_younger).values(merged_into=older.id))
    connection.execute(
        conversations.update().where(conversations.c.id == older.id).values(**_inherited(younger, older))
    )
    person = takeover.stronger(older.takeover, younger.takeover, now)
    if person != older.takeover:
        takeovers.write(connection, older, person, now=now)
    history_rows.count_anew(connection, [younger.id, older.id])
    if any(chat.history_imported or chat.import_due_at is not None for chat in (younger, older)):
        wake(connection, IMPORT, [younger.id, older.id], at=now)
    wake(connection, TALK, [older.id], at=now)


def _move(connection: Any, younger_id: int, older_id: int, now: float) -> None:
    waits = messages.c.state == MessageState.WAITING.value
    to_come = sa.or_(messages.c.source == history_rows.HISTORY, waits, messages.c.target.isnot(None))
    if queues.is_leased(connection, queues.TALK, younger_id, now=now):
        to_come = sa.and_(to_come, sa.not_(waits))  # a turn may be at it; there it is taken to its end
    offered = sa.select(payloads.c.button_id).where(payloads.c.conversation_id == older_id)
    moved = {
        aliases: sa.true(),
        messages: to_come,
        payloads: payloads.c.button_id.notin_(offered),
    }
    for table, which in moved.items():
        of_younger = table.c.conversation_id == younger_id
        connection.execute(table.update().where(of_younger, which).values(conversation_id=older_id))


def _inherited(younger: Chat, older: Chat) -> dict[str, Any]:
    """Return the times that are the person's, whichever conversation they were known in."""
    both = (younger, older)
    first = [chat.first_live_at for chat in both if chat.first_live_at is not None]
    values: dict[str, Any] = {"first_live_at": min(first, default=None)}
    for name in ("last_customer_at", "last_business_at", "handed_back_at", "pair_slot_at"):
        known = [getattr(chat, name) for chat in both if getattr(chat, name) is not None]
        values[name] = max(known, default=None)
    return values
