"""Know what the buttons and numbers mean that the bot offered to a customer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.schema import messages, outbox, payloads
from rasa_coexistence.records import BubbleState
from rasa_coexistence.to_whatsapp.choices import NUMBER_ID

# What a customer may have seen; a bubble that never left offered nothing.
_MAY_BE_SEEN = [
    state.value
    for state in (
        BubbleState.SENDING,
        BubbleState.ACCEPTED,
        BubbleState.SENT,
        BubbleState.DELIVERED,
        BubbleState.READ,
        BubbleState.PLAYED,
        BubbleState.UNCLEAR,
        BubbleState.UNKNOWN,
    )
]
_COLUMNS = ("conversation_id", "button_id", "payload", "created_at")


def remember(
    connection: Any, conversation_id: int, outbox_id: int, offered: Mapping[str, str], *, now: float
) -> None:
    """Remember what each button of an outgoing message means, and each number of its list."""
    rows = [(conversation_id, _key(outbox_id, id_), plain(payload), now) for id_, payload in offered.items()]
    dialects.bulk_upsert(connection, payloads, _COLUMNS, rows, key=2, newer="created_at")


def payload_of(connection: Any, conversation_id: int, button_id: str) -> str | None:
    """Return the payload that the domain had for a button we sent, or None when we never sent it."""
    statement = sa.select(payloads.c.payload).where(
        payloads.c.conversation_id == conversation_id, payloads.c.button_id == button_id
    )
    found: str | None = connection.execute(statement).scalar()
    return found


def payload_of_number(connection: Any, conversation_id: int, number: int, *, typed_at: float) -> str | None:
    """Return the payload of a typed number, if the last that was said to the customer offers it.

    A number that answers anything else is what it looks like: a number.
    """
    last = _last_said(connection, conversation_id, typed_at)
    if last is None or _person_wrote(connection, conversation_id, last.created_at, typed_at):
        return None
    same_turn = sa.select(outbox.c.id).where(
        outbox.c.conversation_id == conversation_id, outbox.c.cause == last.cause, outbox.c.id <= last.id
    )
    for outbox_id in connection.execute(same_turn.order_by(outbox.c.id.desc())).scalars().all():
        if payload_of(connection, conversation_id, _numbered(outbox_id, 1)) is not None:
            return payload_of(connection, conversation_id, _numbered(outbox_id, number))
    return None


def _last_said(connection: Any, conversation_id: int, before: float) -> Any:
    statement = sa.select(outbox.c.id, outbox.c.cause, outbox.c.created_at).where(
        outbox.c.conversation_id == conversation_id,
        outbox.c.state.in_(_MAY_BE_SEEN),
        outbox.c.created_at < before,
    )
    return connection.execute(statement.order_by(outbox.c.id.desc()).limit(1)).first()


def _person_wrote(connection: Any, conversation_id: int, after: float, before: float) -> bool:
    statement = sa.select(messages.c.id).where(
        messages.c.source == sa.literal_column("'phone'"),  # as the partial index has it
        messages.c.received_at > after,
        messages.c.received_at <= before,
        messages.c.conversation_id == conversation_id,
    )
    return connection.execute(statement.limit(1)).first() is not None


def _key(outbox_id: int, button_id: str) -> str:
    """Return the id to keep a button under; each list has numbers of its own."""
    number = button_id.removeprefix(NUMBER_ID)
    return _numbered(outbox_id, int(number)) if number != button_id and number.isdecimal() else button_id


def _numbered(outbox_id: int, number: int) -> str:
    return f"{NUMBER_ID}{outbox_id}.{number}"
