"""What of the messages is old chat, and how much of it the tracker store has."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from rasa_coexistence.ledger import chats, dialects, message_rows
from rasa_coexistence.ledger.prepared import Prepared, is_among, pages
from rasa_coexistence.ledger.queues import import_again
from rasa_coexistence.ledger.schema import conversations, messages
from rasa_coexistence.ledger.schema_history import parses
from rasa_coexistence.records import StoredMessage

HISTORY = "history"  # source of a message


def came_in(connection: Any, counts: Mapping[int, int]) -> None:
    """Count messages of history that are new, by conversation."""
    dialects.update_each(connection, conversations, counts, "history_received = history_received + {}")


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
    import_again(connection, [conversation_id], at=now)


def by_conversation(connection: Any, conversation_ids: Sequence[int]) -> dict[int, list[StoredMessage]]:
    """Return what old chat is made of: its messages, and the reactions to them that came live."""
    found: dict[int, list[StoredMessage]] = {}
    is_parsed = connection.execute(sa.select(parses.c.message_id).limit(1)).first() is not None
    statement, stored = (_PARSED, _stored_and_parsed) if is_parsed else (_OLD, _stored)
    for page in pages(conversation_ids):
        for conversation_id, *values in statement.tuples(connection, **page):
            found.setdefault(conversation_id, []).append(stored(values))
    return found


def imported(connection: Any, counts: Mapping[int, int], *, parse_due_at: Mapping[int, float]) -> None:
    """Note how many messages of history the tracker store has; the bot's slots are made anew of them.

    ``parse_due_at`` names the conversations whose messages NLU has still to read.
    """
    dialects.serialize(connection, dialects.MANY)
    change = "history_imported = {}, context_of = -1, import_error = NULL, import_attempts = 0"
    dialects.update_each(connection, conversations, counts, change)
    for conversation_id, due_at in parse_due_at.items():
        row = conversations.c.id == conversation_id
        connection.execute(conversations.update().where(row).values(parse_due_at=due_at))


def is_done(connection: Any, conversation_id: int, due_at: float) -> None:
    """Say that the history is imported, unless more came meanwhile."""
    connection.execute(
        conversations.update()
        .where(conversations.c.id == conversation_id, conversations.c.import_due_at == due_at)
        .values(import_due_at=None)
    )


def not_imported(connection: Any, conversation_id: int, reason: str) -> int:
    """Note why the tracker store does not have a history; return how often in a row that was so."""
    row = conversations.c.id == conversation_id
    values = {"import_error": reason, "import_attempts": conversations.c.import_attempts + 1}
    connection.execute(conversations.update().where(row).values(**values))
    statement = sa.select(conversations.c.import_attempts).where(row)
    return int(connection.execute(statement).scalar() or 0)


_COLUMNS = [messages.c.conversation_id, *chats.MESSAGE_COLUMNS]
_IS_OLD = sa.and_(
    sa.or_(messages.c.source == HISTORY, messages.c.type == "reaction"),
    is_among(messages.c.conversation_id),
)
_OLD = Prepared(sa.select(*_COLUMNS).where(_IS_OLD))
_PARSED = Prepared(
    sa.select(*_COLUMNS, parses.c.digest, parses.c.parse)
    .select_from(messages.outerjoin(parses, parses.c.message_id == messages.c.id))
    .where(_IS_OLD)
)


def _stored(values: Sequence[Any]) -> StoredMessage:
    message = chats.message_of(values)
    return message if message.status != message_rows.EARLY_MEDIA else replace(message, status=None)


def _stored_and_parsed(values: Sequence[Any]) -> StoredMessage:
    """Return a message with what NLU made of it, unless it read another text."""
    *values, read, parse = values
    message = _stored(values)
    if parse is None or read != digest(message.text):
        return message
    return replace(message, parse=msgspec.json.decode(parse))


def digest(text: str | None) -> str:
    """Return what tells whether a text is still the one that NLU read."""
    return hashlib.blake2b((text or "").encode("utf-8", "replace"), digest_size=16).hexdigest()
