"""What of the messages is old chat, and how much of it the tracker store has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.queues import IMPORT, wake
from rasa_coexistence.ledger.schema import conversations, messages

HISTORY = "history"  # source of a message


def came_in(connection: Any, counts: Mapping[int, int]) -> None:
    """Count messages of history that are new, by conversation."""
    given = [{"conversation": id_, "more": more} for id_, more in counts.items()]
    if given:
        connection.execute(_MORE, given)


def count_anew(connection: Any, conversation_ids: Collection[int]) -> None:
    """Count the messages of history, where it is not sure that all were written that were new."""
    for ids in dialects.in_slices(conversation_ids):
        counted = (
            sa.select(sa.func.count())
            .where(messages.c.conversation_id == conversations.c.id, messages.c.source == HISTORY)
            .scalar_subquery()
        )
        connection.execute(
            conversations.update().where(conversations.c.id.in_(ids)).values(history_received=counted)
        )


def left(connection: Any, conversation_id: int, *, now: float) -> None:
    """Note that a message of history came live as well: it leaves the old chat and joins the live one."""
    came_in(connection, {conversation_id: -1})
    wake(connection, IMPORT, [conversation_id], at=now)


_MORE = (
    conversations.update()
    .where(conversations.c.id == sa.bindparam("conversation"))
    .values(history_received=conversations.c.history_received + sa.bindparam("more"))
)


def by_conversation(connection: Any, conversation_ids: Sequence[int]) -> dict[int, list[Any]]:
    """Return the rows that old chat is made of, and the reactions to it that came live."""
    found: dict[int, list[Any]] = {}
    for ids in dialects.in_slices(conversation_ids):
        statement = sa.select(messages).where(
            messages.c.conversation_id.in_(ids),
            sa.or_(messages.c.source == HISTORY, messages.c.type == "reaction"),
        )
        for row in connection.execute(statement):
            found.setdefault(row.conversation_id, []).append(row)
    return found
