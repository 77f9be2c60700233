"""Read all that was said, one conversation after the other, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from rasa_coexistence.ledger import chats, history_rows, message_rows
from rasa_coexistence.ledger.schema import conversations, messages, numbers
from rasa_coexistence.ledger.schema_history import parses
from rasa_coexistence.records import StoredMessage

PAGE = 500  # rows that are in memory at once

# As in the tracker: never after we heard of it, and within one of Meta's seconds the customer goes first.
_SAID_AT = sa.case(
    (sa.and_(messages.c.sent_at > 0, messages.c.sent_at < messages.c.received_at), messages.c.sent_at),
    else_=messages.c.received_at,
)


class Selection(Struct, frozen=True, kw_only=True):
    """What of the ledger is asked for."""

    conversation_ids: list[int] | None = None  # None: all
    phone_number_id: str | None = None
    since: float | None = None
    until: float | None = None  # not included
    history_only: bool = False


class Talk(Struct, frozen=True, kw_only=True):
    """A conversation; those of the same person that it was united with are part of it."""

    id: int
    sender_id: str
    phone_number_id: str
    display_phone_number: str | None
    name: str | None


def talks(connection: Any, selection: Selection) -> Iterator[Talk]:
    """Yield the conversations that are asked for, oldest first."""
    last = 0
    while rows := connection.execute(_talks(selection).where(conversations.c.id > last).limit(PAGE)).all():
        yield from (Talk(**row._mapping) for row in rows)
        last = rows[-1].id


def count(connection: Any, selection: Selection) -> int:
    """Return how many messages are asked for."""
    roots = _talks(selection).with_only_columns(conversations.c.id).order_by(None)
    merged = sa.select(conversations.c.id).where(conversations.c.merged_into.in_(roots))
    in_them = sa.or_(messages.c.conversation_id.in_(roots), messages.c.conversation_id.in_(merged))
    counted = sa.select(sa.func.count()).where(in_them, *_wanted(selection))
    return int(connection.execute(counted).scalar() or 0)


def messages_of(connection: Any, talk: Talk, selection: Selection) -> Iterator[StoredMessage]:
    """Yield what was said in a conversation, in order, with what NLU made of old messages."""
    merged = sa.select(conversations.c.id).where(conversations.c.merged_into == talk.id)
    ids = [talk.id, *connection.execute(merged).scalars()]
    statement = (
        sa.select(messages, parses.c.digest, parses.c.parse)
        .select_from(messages.outerjoin(parses, parses.c.message_id == messages.c.id))
        .where(messages.c.conversation_id.in_(ids), *_wanted(selection))
        .order_by(_SAID_AT, messages.c.from_business, messages.c.id)
        .execution_options(stream_results=True, max_row_buffer=PAGE)
    )
    for rows in connection.execute(statement).partitions(PAGE):
        yield from map(_stored, rows)


def said_at(message: StoredMessage) -> float:
    """Return when something was said, never after we heard of it."""
    if message.sent_at is None or not 0 < message.sent_at < message.received_at:
        return message.received_at
    return message.sent_at


def _talks(selection: Selection) -> Any:
    statement = (
        sa.select(
            conversations.c.id,
            conversations.c.sender_id,
            conversations.c.phone_number_id,
            numbers.c.display_phone_number,
            conversations.c.name,
        )
        .select_from(
            conversations.outerjoin(numbers, numbers.c.phone_number_id == conversations.c.phone_number_id)
        )
        .where(conversations.c.merged_into.is_(None))
        .order_by(conversations.c.id)
    )
    if selection.phone_number_id is not None:
        statement = statement.where(conversations.c.phone_number_id == selection.phone_number_id)
    if selection.conversation_ids is not None:
        statement = statement.where(conversations.c.id.in_(selection.conversation_ids))
    return statement


def _wanted(selection: Selection) -> list[Any]:
    wanted = []
    if selection.history_only:
        wanted.append(messages.c.source == history_rows.HISTORY)
    if selection.since is not None:
        wanted.append(selection.since <= _SAID_AT)
    if selection.until is not None:
        wanted.append(selection.until > _SAID_AT)
    return wanted


def _stored(row: Any) -> StoredMessage:
    message = chats.stored_message(row)
    is_early = message.status == message_rows.EARLY_MEDIA
    is_parsed = row.parse is not None and row.digest == history_rows.digest(message.text)
    if not (is_early or is_parsed):
        return message
    return replace(
        message,
        status=None if is_early else message.status,
        parse=msgspec.json.decode(row.parse) if is_parsed else None,
    )
