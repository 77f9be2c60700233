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
from rasa_coexistence.ledger.prepared import Prepared, one_of
from rasa_coexistence.ledger.queues import SEND, wake
from rasa_coexistence.ledger.schema import conversations, outbox
from rasa_coexistence.records import BubbleState

CALLBACK_PREFIX = "rasa-coexistence"
_COLUMNS = (
    *("conversation_id", "cause", "ordinal", "body", "text", "state", "reason", "created_at", "changed_at"),
    *("attempts", "not_before", "marked"),
)
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
    # What a run left that ended before its tracker was saved.
    _FORGET_HELD.run(connection, conversation=conversation_id, of=cause)
    rows = [
        (
            conversation_id,
            cause,
            draft.ordinal,
            plain(msgspec.json.encode(draft.body).decode()),
            plain(draft.text),
            *(state.value, reason, now, now, 0, 0.0, False),
        )
        for draft in drafts
    ]
    dialects.bulk_insert(connection, outbox, _COLUMNS, rows)
    for draft in drafts:
        if draft.payloads:
            outbox_id = _id_of(connection, conversation_id, cause, draft.ordinal)
            offers.remember(connection, conversation_id, outbox_id, draft.payloads, now=now)
    if state is BubbleState.QUEUED and drafts:
        wake(connection, SEND, [conversation_id], at=now)


def release(connection: Any, conversation_id: int, cause: str, *, now: float) -> None:
    """Let a turn's bubbles leave: its tracker is saved."""
    queued = BubbleState.QUEUED.value
    if _RELEASE.run(connection, conversation=conversation_id, of=cause, state=queued, changed_at=now):
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
    return _FIRST_PENDING.first(connection, conversation=conversation_id)


def move(connection: Any, outbox_id: int, state: BubbleState, *, now: float, **values: Any) -> None:
    """Bring an outgoing message from one state to the next."""
    change(connection, outbox_id, state=state.value, changed_at=now, **values)


def change(connection: Any, outbox_id: int, **values: Any) -> None:
    """Change columns of an outgoing message that stays as far as it is."""
    _CHANGE.run(connection, this=outbox_id, **values)


def accept(connection: Any, row: Any, wamid: str, *, now: float) -> None:
    """Say that Meta took a message, unless a status has said more already."""
    if _RANK.get(row.state, 9) < _RANK[BubbleState.ACCEPTED.value]:
        move(connection, row.id, BubbleState.ACCEPTED, now=now, wamid=wamid)


def get(connection: Any, outbox_id: int) -> Any:
    """Return an outgoing message, None when its customer was forgotten."""
    return _GET.first(connection, this=outbox_id)


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
    this = {"conversation": conversation_id, "of": cause, "nth": ordinal}
    return int(_ID_OF.one(connection, **this).id)


def _by_wamid(connection: Any, phone_number_id: str, wamid: str) -> Any:
    return _BY_WAMID.first(connection, wamid=wamid, number=phone_number_id)


def _by_callback(connection: Any, callback: str | None) -> Any:
    parts = (callback or "").split(":")
    if len(parts) != 3 or parts[0] != CALLBACK_PREFIX or not _ID.fullmatch(parts[1]):
        return None
    row = get(connection, int(parts[1]))
    return row if row is not None and callback == callback_data(row.id, row.cause) else None


def _sentence(error: JSON) -> str:
    details = as_object(error.get("error_data")).get("details") or error.get("message")
    return ": ".join(str(part) for part in (error.get("title"), details) if part) or "Meta gave no reason"


_THIS = outbox.c.id == sa.bindparam("this")
_GET = Prepared(sa.select(outbox).where(_THIS))
_CHANGE = Prepared(outbox.update().where(_THIS))
_OF_CONVERSATION = outbox.c.conversation_id == sa.bindparam("conversation")
_OF_TURN = sa.and_(_OF_CONVERSATION, outbox.c.cause == sa.bindparam("of"))
_HELD_OF_TURN = sa.and_(_OF_TURN, outbox.c.state == BubbleState.HELD.value)
_FORGET_HELD = Prepared(outbox.delete().where(_HELD_OF_TURN))
_RELEASE = Prepared(outbox.update().where(_HELD_OF_TURN))
_ID_OF = Prepared(sa.select(outbox.c.id).where(_OF_TURN, outbox.c.ordinal == sa.bindparam("nth")))
_FIRST_PENDING = Prepared(
    sa.select(outbox).where(_OF_CONVERSATION, one_of(outbox.c.state, PENDING)).order_by(outbox.c.id).limit(1)
)
_BY_WAMID = Prepared(
    sa.select(outbox)
    .join(conversations, conversations.c.id == outbox.c.conversation_id)
    .where(
        outbox.c.wamid == sa.bindparam("wamid"),
        conversations.c.phone_number_id == sa.bindparam("number"),
    )
)
