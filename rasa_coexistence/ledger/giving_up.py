"""Take out of a conversation's queue what fails whenever it is tried, so that what is behind it goes on."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from rasa_coexistence.ledger import bubbles, chats, failures, held_back, inbox, queues
from rasa_coexistence.ledger.schema import messages
from rasa_coexistence.records import BubbleState, MessageState


def first(connection: Any, lease: queues.Lease) -> int | None:
    """Return the id of the message, or the outgoing one, that a visit tries first; None if there is none."""
    if lease.queue == queues.SEND:
        bubble = bubbles.first_pending(connection, lease.conversation_id)
        return None if bubble is None else int(bubble.id)
    message = chats.next_waiting(connection, lease.conversation_id)
    if message is None:  # then a visit is about the question that was left open
        message = chats.unanswered(connection, lease.conversation_id)
    return None if message is None else message.id


def give_up(connection: Any, lease: queues.Lease, id_: int, *, reason: str, now: float) -> None:
    """Set aside what failed, with its reason, and let a person see it; raise LeaseLost if it ran out."""
    queues.check(connection, lease, now=now)
    if lease.queue == queues.SEND:
        _give_up_bubble(connection, id_, reason, now)
    else:
        _give_up_message(connection, id_, reason, now)


def _give_up_bubble(connection: Any, outbox_id: int, reason: str, now: float) -> None:
    row = bubbles.get(connection, outbox_id)
    if row is not None and row.state in bubbles.PENDING:
        bubbles.move(connection, row.id, BubbleState.FAILED, now=now, reason=reason)
        failures.message_failed(connection, row, code=None, now=now)


def _give_up_message(connection: Any, message_id: int, reason: str, now: float) -> None:
    row = connection.execute(sa.select(messages).where(messages.c.id == message_id)).one()
    chats.settle(connection, row.id, MessageState.SET_ASIDE)
    held_back.discard(connection, row.conversation_id, row.wamid, now=now)
    raw = None if row.raw is None else msgspec.json.decode(row.raw)
    inbox.keep_aside(connection, reason=reason, path=row.wamid, raw=raw, received_at=row.received_at)
    failures.message_set_aside(connection, row, now=now)
