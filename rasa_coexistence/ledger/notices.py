"""Keep what a person must hear of until ``notify_url`` has taken it."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.schema_jobs import notices

HAND_OFF = "handoff"  # the bot asks for somebody
HIDDEN_MESSAGE = "hidden_message"  # a customer wrote what Meta shows only on the phone (131060)
MESSAGE_SET_ASIDE = "message_set_aside"  # the bot could not take what was written
SEND_FAILED = "send_failed"  # something the bot said did not reach the customer
NUMBER_STOPPED = "number_stopped"  # nothing can be sent until somebody acts
SYNC_DEADLINE = "sync_deadline"  # contacts or history can be asked for only so many hours more

WAITING, SENT, FAILED = "waiting", "sent", "failed"
KEEP_SECONDS = 7 * 86400.0


class Notice(Struct, frozen=True, kw_only=True):
    """One thing to tell."""

    id: int
    event: str
    body: bytes  # JSON
    attempts: int  # tries before this one
    created_at: float


def about_chat(connection: Any, event: str, chat: Chat, *, about: str, now: float, **facts: Any) -> None:
    """Tell that a conversation needs somebody, once for each ``about``."""
    who = {key: value for key, value in chat.contact.items() if value}
    shown = {"phone_number_id": chat.phone_number_id, "conversation": chat.sender_id, "contact": who, **facts}
    _file(connection, event, f"{chat.id}:{about}", shown, now, conversation_id=chat.id)


def about_number(connection: Any, event: str, phone_number_id: str, *, now: float, **facts: Any) -> None:
    """Tell that a business number needs somebody, once a day for each set of facts."""
    encoded = msgspec.json.encode(facts, order="deterministic").decode()
    about = f"{phone_number_id}:{now // 86400:.0f}:{encoded}"[:1200]
    _file(connection, event, about, {"phone_number_id": phone_number_id, **facts}, now)


def claim(connection: Any, *, now: float, lease_seconds: float, limit: int) -> list[Notice]:
    """Take notices that are due, for as long as a try may take; a process that dies leaves them to others."""
    due = sa.and_(notices.c.state == WAITING, notices.c.not_before <= now)
    statement = sa.select(notices).where(due).order_by(notices.c.not_before).limit(limit)
    rows = connection.execute(dialects.for_update(statement, skip_locked=True)).all()
    values = {"attempts": notices.c.attempts + 1, "not_before": now + lease_seconds}
    ids = [row.id for row in rows]
    connection.execute(notices.update().where(notices.c.id.in_(ids)).values(**values))
    return [
        Notice(
            id=row.id,
            event=row.event,
            body=row.body.encode(),
            attempts=row.attempts,
            created_at=row.created_at,
        )
        for row in rows
    ]


def are_due(connection: Any, *, now: float) -> bool:
    """Tell whether a notice waits to be sent."""
    due = sa.and_(notices.c.state == WAITING, notices.c.not_before <= now)
    return connection.execute(sa.select(notices.c.id).where(due).limit(1)).first() is not None


def settle(connection: Any, notice_id: int, *, state: str, not_before: float) -> None:
    """Say what became of a try."""
    row = sa.and_(notices.c.id == notice_id, notices.c.state == WAITING)
    connection.execute(notices.update().where(row).values(state=state, not_before=not_before))


def forget_old(connection: Any, *, now: float) -> None:
    """Delete what nobody needs any more."""
    connection.execute(notices.delete().where(notices.c.created_at < now - KEEP_SECONDS))


def _file(
    connection: Any,
    event: str,
    about: str,
    facts: dict[str, Any],
    now: float,
    conversation_id: int | None = None,
) -> None:
    body = msgspec.json.encode({"event": event, "at": now, **facts}).decode()
    values = {
        "event": event,
        "about": about,
        "conversation_id": conversation_id,
        "body": plain(body),
        "state": WAITING,
        "not_before": now,
        "created_at": now,
    }
    connection.execute(dialects.insert(connection, notices).values(**values).on_conflict_do_nothing())
