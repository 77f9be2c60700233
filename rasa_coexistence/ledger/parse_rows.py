"""Which old messages NLU has still to read, and what it made of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import dialects, history_rows
from rasa_coexistence.ledger.queues import IMPORT, wake
from rasa_coexistence.ledger.schema import conversations
from rasa_coexistence.ledger.schema_history import parses
from rasa_coexistence.records import StoredMessage


def claim(connection: Any, *, now: float, until: float) -> int | None:
    """Take the conversation that waits longest; if we die it is due again at ``until``."""
    due = sa.select(conversations.c.id).where(conversations.c.parse_due_at <= now)
    statement = due.order_by(conversations.c.parse_due_at).limit(1)
    found: int | None = connection.execute(dialects.for_update(statement, skip_locked=True)).scalar()
    if found is not None:
        keep(connection, found, until=until)
    return found


def is_due(connection: Any, *, now: float) -> bool:
    """Tell whether a conversation waits."""
    due = sa.select(conversations.c.id).where(conversations.c.parse_due_at <= now)
    return connection.execute(due.limit(1)).first() is not None


def keep(connection: Any, conversation_id: int, *, until: float) -> None:
    """Keep a conversation for another while."""
    row = sa.and_(conversations.c.id == conversation_id, conversations.c.parse_due_at.isnot(None))
    connection.execute(conversations.update().where(row).values(parse_due_at=until))


def write(connection: Any, read: Sequence[tuple[StoredMessage, JSON]]) -> None:
    """Write down what NLU made of messages."""
    for message, parse in read:
        values = {
            "digest": history_rows.digest(message.text),
            "parse": msgspec.json.encode(parse).decode(),
        }
        statement = dialects.insert(connection, parses).values(message_id=message.id, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["message_id"], set_=values))


def is_read(connection: Any, conversation_id: int, *, now: float) -> None:
    """Note that NLU has read all there was, and have the tracker told."""
    row = conversations.c.id == conversation_id
    connection.execute(conversations.update().where(row).values(parse_due_at=None))
    wake(connection, IMPORT, [conversation_id], at=now)
