"""Outgoing messages: made by a turn, released, sent one after the other, followed by their statuses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.events import JSON, StatusChange
from rasa_coexistence.from_whatsapp.loose import as_int, as_object
from rasa_coexistence.ledger import dialects, offers
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.queues import SEND, wake
from rasa_coexistence.ledger.schema import conversations, outbox
from rasa_coexistence.records import BubbleState

CALLBACK_PREFIX = "rasa-coexistence"
PENDING = (BubbleState.QUEUED.value, BubbleState.SENDING.value, BubbleState.UNCLEAR.value)
_ID = re.compile("[0-9]{1,18}")  # what fits into 64 bits
_RANK = {
    BubbleState.QUEUED.value: 0,  # a try that seemed to fail arrived after all
    BubbleState.SENDING.value: 0,
    BubbleState.UNCLEAR.value: 0,
    BubbleState.UNKNOWN.value: 0,
    BubbleState.ACCEPTED.value: 1,
    BubbleState.SENT.value: 2,
    BubbleState.FAILED.value: 3,  # after sent, and never over delivered
    BubbleState.DELIVERED.value: 4,
    BubbleState.READ.value: 5,
    BubbleState.PLAYED.value: 6,
}


class Draft(Struct, frozen=True, kw_only=True):
    """A bubble on its way into the outbox."""

    ordinal: int
    body: JSON
    text: str
    payloads: dict[str, str] = {}


def write(
    connection: Any,
    conversation_id: int,
    cause: str,
    drafts: Sequence[Draft],
    state: BubbleState,
    *,
    now: float,
    reason: str | None = None,
) -> None:
    """Write a turn's bubbles, except those that an earlier run of the same turn let go already."""
    held = sa.and_(
        outbox.c.conversation_id == conversation_id,
        outbox.c.cause == cause,
        outbox.c.state == BubbleState.HELD.value,
    )
    connection.execute(outbox.delete().where(held))  # of a run that ended before its tracker was saved
    for draft in drafts:
        values = {
            "conversation_id": conversation_id,
            "cause": cause,
            "ordinal": draft.ordinal,
            "body": plain(msgspec.json.encode(draft.body).decode()),
            "text": plain(draft.text),
            "state": state.value,
            "reason": reason,
            "created_at": now,
            "changed_at": now,
        }
        connection.execute(dialects.insert(connection, outbox).values(**values).on_conflict_do_nothing())
        if draft.payloads:
            outbox_id = _id_of(connection, conversation_id, cause, draft.ordinal)
            offers.remember(connection, conversation_id, outbox_id, draft.payloads, now=now)
    if state is BubbleState.QUEUED and drafts:
        wake(connection, SEND, [conversation_id], at=now)


def release(connection: Any, conversation_id: int, cause: str, *, now: float) -> None:
    """Let a turn's bubbles leave: its tracker is saved."""
    of_turn = sa.and_(outbox.c.conversation_id == conversation_id, outbox.c.cause == cause)
    changed = connection.execute(
        outbox.update()
        .where(of_turn, outbox.c.state == BubbleState.HELD.value)
        .values(state=BubbleState.QUEUED.value, changed_at=now)
    )
    if changed.rowcount:
        wake(connection, SEND, [conversation_id], at=now)


def next_ordinal(connection: Any, conversation_id: int, cause: str) -> int:
    """Return the ordinal after those that a cause has used."""
    used = sa.select(sa.func.max(outbox.c.ordinal)).where(
        outbox.c.conversation_id == conversation_id, outbox.c.cause == cause
    )
    highest = connection.execute(used).scalar()
    return 0 if highest is None else int(highest) + 1


def first_pending(connection: Any, conversation_id: int) -> Any:
    """Return the outgoing message whose turn it is."""
    statement = sa.select(outbox).where(
        outbox.c.conversation_id == conversation_id, outbox.c.state.in_(PENDING)
    )
    return connection.execute(statement.order_by(outbox.c.id).limit(1)).first()


def move(connection: Any, outbox_id: int, state: BubbleState, *, now: float, **values: Any) -> None:
    """Bring an outgoing message from one state to the next."""
    statement = outbox.update().where(outbox.c.id == outbox_id)
    connection.execute(statement.values(state=state.value, changed_at=now, **values))


def change(connection: Any, outbox_id: int, **values: Any) -> None:
    """Change columns of an outgoing message that stays as far as it is."""
    connection.execute(outbox.update().where(outbox.c.id == outbox_id).values(**values))


def accept(connection: Any, row: Any, wamid: str, *, now: float) -> None:
    """Say that Meta took a message, unless a status has said more already."""
    if _RANK.get(row.state, 9) < _RANK[BubbleState.ACCEPTED.value]:
        move(connection, row.id, BubbleState.ACCEPTED, now=now, wamid=wamid)


def get(connection: Any, outbox_id: int) -> Any:
    """Return an outgoing message, None when its customer was forgotten."""
    return connection.execute(sa.select(outbox).where(outbox.c.id == outbox_id)).first()


def cause_has_template(connection: Any, conversation_id: int, cause: str) -> bool:
    """Tell whether a template went in the place of another bubble of the same cause."""
    statement = sa.select(outbox.c.id).where(
        outbox.c.conversation_id == conversation_id,
        outbox.c.cause == cause,
        outbox.c.body.like('{"type":"template"%'),
    )
    return connection.execute(statement.limit(1)).first() is not None


def replace_body(connection: Any, outbox_id: int, body: JSON, *, now: float, reason: str) -> None:
    """Let something else go in the place of a bubble."""
    encoded = msgspec.json.encode({"type": body["type"], **body}).decode()
    move(connection, outbox_id, BubbleState.QUEUED, now=now, body=encoded, reason=reason)


def callback_data(outbox_id: int, cause: str) -> str:
    """Return the ``biz_opaque_callback_data`` that Meta gives back with each status of a bubble."""
    return f"{CALLBACK_PREFIX}:{outbox_id}:{hashlib.sha256(cause.encode()).hexdigest()[:12]}"


def apply_status(connection: Any, phone_number_id: str, event: StatusChange, *, now: float) -> Any:
    """Move a bubble forward by Meta's status; the first may be the proof that an unanswered try arrived.

    Return the bubble's row as it was before, None when nothing moved.
    """
    row = _by_wamid(connection, phone_number_id, event.wamid) or _by_callback(connection, event.callback_data)
    if row is None or event.status not in _RANK or _RANK.get(row.state, 9) >= _RANK[event.status]:
        return None
    error = event.errors[0] if event.errors else {}
    values: dict[str, Any] = {"wamid": event.wamid}
    if event.status == BubbleState.FAILED.value:
        values |= {"code": as_int(error.get("code")), "reason": plain(_sentence(error))}
    move(connection, row.id, BubbleState(event.status), now=now, **values)
    if row.state in PENDING:  # the next one waited for this
        wake(connection, SEND, [row.conversation_id], at=now)
    return row


def _id_of(connection: Any, conversation_id: int, cause: str, ordinal: int) -> int:
    statement = sa.select(outbox.c.id).where(
        outbox.c.conversation_id == conversation_id, outbox.c.cause == cause, outbox.c.ordinal == ordinal
    )
    return int(connection.execute(statement).scalar_one())


def _by_wamid(connection: Any, phone_number_id: str, wamid: str) -> Any:
    statement = (
        sa.select(outbox)
        .join(conversations, conversations.c.id == outbox.c.conversation_id)
        .where(outbox.c.wamid == wamid, conversations.c.phone_number_id == phone_number_id)
    )
    return connection.execute(statement).first()


def _by_callback(connection: Any, callback: str | None) -> Any:
    parts = (callback or "").split(":")
    if len(parts) != 3 or parts[0] != CALLBACK_PREFIX or not _ID.fullmatch(parts[1]):
        return None
    row = connection.execute(sa.select(outbox).where(outbox.c.id == int(parts[1]))).first()
    return row if row is not None and callback == callback_data(row.id, row.cause) else None


def _sentence(error: JSON) -> str:
    details = as_object(error.get("error_data")).get("details") or error.get("message")
    return ": ".join(str(part) for part in (error.get("title"), details) if part) or "Meta gave no reason"
