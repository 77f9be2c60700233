"""Show conversations and what was said in them to people: the API, the console, the command line."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.errors import BadRequest
from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import chats, message_rows
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.schema import conversations, messages, numbers, outbox
from rasa_coexistence.records import BubbleState, MessageState

SHOWN = 50  # of a page, unless asked for more
MOST_SHOWN = 200

_IN_MESSAGES = (  # bubbles that Meta took stand among the messages
    BubbleState.ACCEPTED,
    BubbleState.SENT,
    BubbleState.DELIVERED,
    BubbleState.READ,
    BubbleState.PLAYED,
    BubbleState.DISCARDED,
)


class ShownTakeover(Struct, frozen=True, kw_only=True):
    """Who has a conversation, or a number, now."""

    mode: str  # bot | timed | hold
    until: float | None
    since: float | None
    reason: str | None


class ShownConversation(Struct, frozen=True, kw_only=True):
    """One conversation of a list."""

    id: str  # Rasa's: sender_id
    phone_number_id: str
    contact: JSON
    takeover: ShownTakeover
    wants_person: bool
    last_activity_at: float
    last_message: JSON | None


class Page(Struct, frozen=True, kw_only=True):
    """A part of a list, newest first."""

    items: list[Any]
    next: str | None  # what to ask for the part after this one; None at the end


def conversation(connection: Any, chat: Chat, *, now: float) -> ShownConversation:
    """Return a conversation as people see it."""
    times = [at for at in (chat.last_customer_at, chat.last_business_at) if at is not None]
    return ShownConversation(
        id=chat.sender_id,
        phone_number_id=chat.phone_number_id,
        contact=chat.contact,
        takeover=takeover_of(chat, now=now),
        wants_person=chat.takeover.wants_person,
        last_activity_at=max(times, default=chat.created_at),
        last_message=_last_message(connection, chat.id),
    )


def takeover_of(chat: Chat, *, now: float) -> ShownTakeover:
    """Return who has a conversation."""
    person = chat.person_has_it(now)
    if person is None:
        return ShownTakeover(mode="bot", until=None, since=chat.handed_back_at, reason=chat.takeover.reason)
    return ShownTakeover(mode=person.mode, until=person.until, since=person.since, reason=person.reason)


def list_conversations(
    connection: Any,
    *,
    now: float,
    limit: int = SHOWN,
    before: str | None = None,
    phone_number_id: str | None = None,
    taken: bool = False,
    wants_person: bool = False,
) -> Page:
    """Return conversations, those first in which somebody wrote last."""
    at = _latest(conversations.c.last_customer_at, conversations.c.last_business_at)
    where = [conversations.c.merged_into.is_(None)]
    if phone_number_id is not None:
        where.append(conversations.c.phone_number_id == phone_number_id)
    if wants_person:
        where.append(conversations.c.wants_person.is_(True))
    if taken:
        where.append(_is_taken(now))
    if before is not None:
        last_at, last_id = _cursor(before, float, int)
        where.append(sa.or_(at < last_at, sa.and_(at == last_at, conversations.c.id < last_id)))
    statement = sa.select(conversations.c.id, at.label("at")).where(*where)
    rows = connection.execute(statement.order_by(at.desc(), conversations.c.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    found = chats.load_many(connection, [row.id for row in shown])
    return Page(
        items=[conversation(connection, chat, now=now) for chat in found],
        next=f"{shown[-1].at!r},{shown[-1].id}" if len(rows) > limit else None,
    )


def _is_taken(now: float) -> Any:
    until = conversations.c.takeover_until
    by_itself = sa.and_(conversations.c.takeover != "bot", sa.or_(until.is_(None), until > now))
    number_until = numbers.c.hold_until
    held = sa.and_(numbers.c.hold.is_(True), sa.or_(number_until.is_(None), number_until > now))
    with_its_number = sa.select(numbers.c.phone_number_id).where(held)
    return sa.or_(by_itself, conversations.c.phone_number_id.in_(with_its_number))


def list_messages(
    connection: Any, conversation_id: int, *, limit: int = SHOWN, before: str | None = None
) -> Page:
    """Return what was said in a conversation, with what the bot said and did not leave; newest first."""
    said_at = sa.func.coalesce(messages.c.sent_at, messages.c.received_at)
    said = sa.select(said_at.label("at"), sa.literal(0).label("kind"), messages.c.id.label("id")).where(
        messages.c.conversation_id == conversation_id
    )
    waiting = sa.select(
        outbox.c.created_at.label("at"), sa.literal(1).label("kind"), outbox.c.id.label("id")
    ).where(
        outbox.c.conversation_id == conversation_id,
        outbox.c.state.notin_([state.value for state in _IN_MESSAGES]),
        outbox.c.wamid.is_(None),
    )
    both = sa.union_all(said, waiting).subquery()
    place = (both.c.at, both.c.kind, both.c.id)
    statement = sa.select(both).order_by(*(column.desc() for column in place)).limit(limit + 1)
    if before is not None:
        last = _cursor(before, float, int, int)
        statement = statement.where(sa.tuple_(*place) < sa.tuple_(*last))
    rows = connection.execute(statement).all()
    shown = rows[:limit]
    by_place = _messages(connection, [row.id for row in shown if row.kind == 0]) | _bubbles(
        connection, [row.id for row in shown if row.kind == 1]
    )
    return Page(
        items=[by_place[row.kind, row.id] for row in shown],
        next=f"{shown[-1].at!r},{shown[-1].kind},{shown[-1].id}" if len(rows) > limit else None,
    )


def number_takeover(connection: Any, phone_number_id: str, *, now: float) -> ShownTakeover | None:
    """Return whether a whole number is held; None for a number that is not known."""
    row = connection.execute(
        sa.select(numbers.c.hold, numbers.c.hold_until).where(numbers.c.phone_number_id == phone_number_id)
    ).first()
    if row is None:
        return None
    is_held = row.hold and (row.hold_until is None or row.hold_until > now)
    mode, until = ("hold", row.hold_until) if is_held else ("bot", None)
    return ShownTakeover(mode=mode, until=until, since=None, reason=chats.NUMBER_HOLD if is_held else None)


def _messages(connection: Any, ids: list[int]) -> dict[tuple[int, int], JSON]:
    rows = connection.execute(sa.select(messages).where(messages.c.id.in_(ids))).all() if ids else []
    failed = [row.wamid for row in rows if row.source == "bot" and row.status == BubbleState.FAILED.value]
    reasons = _why_failed(connection, failed)
    return {(0, row.id): _message(connection, row) | reasons.get(row.wamid, {}) for row in rows}


def _why_failed(connection: Any, wamids: list[str]) -> dict[str, JSON]:
    """Return what Meta said of messages that it took and could not deliver."""
    columns = (outbox.c.wamid, outbox.c.reason, outbox.c.code)
    rows = connection.execute(sa.select(*columns).where(outbox.c.wamid.in_(wamids))) if wamids else []
    return {row.wamid: {"reason": row.reason, "code": row.code} for row in rows}


def _message(connection: Any, row: Any) -> JSON:
    content = {} if row.content is None else msgspec.json.decode(row.content)
    told = {
        key: content[key] for key in ("fields", "label", "target", "emoji", "context") if content.get(key)
    }
    quoted = (content.get("context") or {}).get("id")
    if quoted:
        told["quoted"] = _quoted(connection, row, quoted)
    return {
        "id": f"m{row.id}",
        "wamid": row.wamid,
        "role": _role(row),
        "source": row.source,
        "type": row.type,
        "text": row.text,
        "timestamp": row.sent_at or row.received_at,
        "status": row.status,
        "edited_from": row.edited_text,
        "revoked": bool(row.revoked),
        **told,
    }


def _quoted(connection: Any, row: Any, wamid: str) -> JSON | None:
    """Return what a message quotes, None when that is not known here or was revoked."""
    found = message_rows.find_target(connection, row.phone_number_id, row.conversation_id, wamid)
    if found is None or found.revoked:
        return None
    return {"role": _role(found), "type": found.type, "text": found.text}


def _role(row: Any) -> str:
    if not row.from_business:
        return "customer"
    return "bot" if row.source == "bot" else "business"


def _bubbles(connection: Any, ids: list[int]) -> dict[tuple[int, int], JSON]:
    rows = connection.execute(sa.select(outbox).where(outbox.c.id.in_(ids))) if ids else []
    return {
        (1, row.id): {
            "id": f"b{row.id}",
            "wamid": None,
            "role": "bot",
            "source": "bot",
            "type": msgspec.json.decode(row.body).get("type", "text"),
            "text": row.text,
            "timestamp": row.created_at,
            "status": row.state,
            "reason": row.reason,
            "code": row.code,
            "edited_from": None,
            "revoked": False,
        }
        for row in rows
    }


def _last_message(connection: Any, conversation_id: int) -> JSON | None:
    """Return what was said last; each state is one look into an index, however long the conversation is."""
    said = messages.c.type.notin_(("reaction", "edit", "revoke"))
    newest = [
        sa.select(messages.c.id)
        .where(messages.c.conversation_id == conversation_id, messages.c.state == state.value, said)
        .order_by(messages.c.id.desc())
        .limit(1)
        .scalar_subquery()
        for state in MessageState
    ]
    rows = connection.execute(sa.select(messages).where(messages.c.id.in_(newest))).all()
    last = max(rows, key=lambda row: (row.sent_at or row.received_at, row.id), default=None)
    if last is None:
        return None
    at = last.sent_at or last.received_at
    told = {"role": _role(last), "type": last.type, "text": last.text, "timestamp": at}
    return told | {"revoked": bool(last.revoked)}


def _latest(first: Any, second: Any) -> Any:
    """Return the later of two times, or when the conversation was made."""
    made = conversations.c.created_at
    both = sa.func.coalesce(first, second, made)
    return sa.case((second > both, second), else_=both)


def _cursor(text: str, *kinds: Any) -> list[Any]:
    parts = text.split(",")
    try:
        return [kind(part) for kind, part in zip(kinds, parts, strict=True)]
    except ValueError as error:
        raise BadRequest("before must be the value of next of the page before") from error
