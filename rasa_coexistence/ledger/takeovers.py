"""Change who has a conversation, together with all that follows from it."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from rasa_coexistence import takeover
from rasa_coexistence.ledger import chats, dialects, held_back, notices
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.queues import TALK, wake
from rasa_coexistence.ledger.schema import conversations, messages, numbers
from rasa_coexistence.records import Takeover
from rasa_coexistence.sending import WINDOW_SECONDS

log = structlog.get_logger(__name__)

PHONE = "phone"


def write(
    connection: Any,
    chat: Chat,
    to: Takeover,
    *,
    now: float,
    before: Takeover | None = None,
    handed_back_at: float | None = None,
) -> None:
    """Write who has a conversation, keep back what waits to leave, and let the tracker hear of it.

    ``before``: who had it before the phone, to go back to should no person have typed.
    """
    values: dict[str, Any] = {
        "takeover": to.mode,
        "takeover_until": to.until,
        "takeover_since": to.since,
        "takeover_reason": to.reason,
        "takeover_wamid": to.wamid,
        "takeover_before": None if before is None else msgspec.json.encode(before).decode(),
        "wants_person": to.wants_person,
    }
    if handed_back_at is not None:
        values["handed_back_at"] = handed_back_at
    connection.execute(conversations.update().where(conversations.c.id == chat.id).values(**values))
    if takeover.in_force(to, now) and not held_back.is_in_doubt(connection, chat.id):
        held_back.hold_back(connection, chat.id, to, now=now)
    wake(connection, TALK, [chat.id], at=now)
    log.info("takeover.changed", conversation=chat.id, mode=to.mode, reason=to.reason)


def take(connection: Any, chat: Chat, to: Takeover, *, now: float) -> None:
    """Give a conversation to the person on the phone."""
    before = _before(connection, chat) if chat.takeover.reason == PHONE else chat.takeover
    write(connection, chat, to, now=now, before=before)


def hold(connection: Any, conversation_id: int, *, until: float | None, reason: str, now: float) -> None:
    """Give a conversation to a person, until an hour or until it is handed back."""
    chat = chats.lock(connection, conversation_id)
    write(connection, chat, takeover.hold(until=until, reason=reason, now=now), now=now)


def hand_back(connection: Any, conversation_id: int, *, reason: str, now: float) -> None:
    """Give a conversation back to the bot."""
    chat = chats.lock(connection, conversation_id)
    write(connection, chat, Takeover(reason=reason), now=now, handed_back_at=now)


def hand_off(connection: Any, chat: Chat, rules: takeover.Rules, *, cause: str | None, now: float) -> None:
    """Keep a conversation for a person whom the bot asked for, and call them."""
    after = takeover.after_hand_off(chat.takeover, rules, now, cause=cause)
    if after is not None:
        write(connection, chat, after, now=now)
        about = cause or f"{now:.3f}"
        notices.about_chat(connection, notices.HAND_OFF, chat, about=about, now=now, until=after.until)


def current(connection: Any, conversation_id: int, *, now: float) -> Chat:
    """Return a conversation; a takeover that ran out ends here, unless it was extended meanwhile."""
    chat = chats.lock(connection, conversation_id)
    if not takeover.has_ended(chat.takeover, now):
        return chat
    # As of its end, not as of now: nobody may have looked for hours, and somebody may have typed since.
    write(connection, chat, Takeover(reason="timer"), now=now, handed_back_at=chat.takeover.until)
    return chats.load(connection, conversation_id)


def undo(connection: Any, conversation_id: int, wamid: str, rules: takeover.Rules, *, now: float) -> None:
    """Bring a conversation to where it would be without a message that no person typed after all."""
    this = sa.and_(messages.c.conversation_id == conversation_id, messages.c.wamid == wamid)
    connection.execute(messages.update().where(this).values(by_person=False))
    chat = chats.lock(connection, conversation_id)
    if chat.takeover.reason != PHONE:
        return
    before = _before(connection, chat) or takeover.BOT
    after = before
    for row in _typed_lately(connection, chat, rules, now):
        said_at = row.sent_at
        if takeover.is_before(said_at, chat.handed_back_at):
            continue
        until = takeover.lasts_until(said_at, rules, row.received_at)
        step = takeover.after_person(after, until, said_at=said_at, reason=PHONE, wamid=row.wamid, now=now)
        after = after if step is None else step
    if after != chat.takeover:
        write(connection, chat, after, now=now, before=before if after.reason == PHONE else None)


def undo_greeting(
    connection: Any, conversation_id: int, wrote_at: float, rules: takeover.Rules, *, now: float
) -> None:
    """Take an echo for the app's greeting whose cause, the customer's first message, comes after it."""
    if _MAY_BE_GREETED.first(connection, this=conversation_id, at=wrote_at) is None:
        return
    typed = sa.and_(messages.c.conversation_id == conversation_id, messages.c.source == PHONE)
    rows = connection.execute(sa.select(messages.c.wamid, messages.c.sent_at).where(typed).limit(2)).all()
    sent_at = rows[0].sent_at if len(rows) == 1 else None
    if sent_at is not None and takeover.is_greeting(sent_at - wrote_at):
        undo(connection, conversation_id, rows[0].wamid, rules, now=now)


def hold_number(connection: Any, phone_number_id: str, *, until: float | None, now: float) -> bool:
    """Silence the bot on a whole number; return whether there is such a number."""
    dialects.serialize(connection, dialects.MANY)
    if not _set_number(connection, phone_number_id, until):
        return False
    # Where the bot could speak soon, Rasa shall know; elsewhere it hears of it with the next message.
    lately = conversations.c.last_customer_at > now - WINDOW_SECONDS
    _wake_all(connection, phone_number_id, lately, now)
    return True


def release_number(connection: Any, phone_number_id: str, *, now: float) -> bool:
    """Let the bot speak on a whole number again; return whether there is such a number."""
    dialects.serialize(connection, dialects.MANY)
    if not _set_number(connection, phone_number_id, now):
        return False
    _wake_all(connection, phone_number_id, conversations.c.tracker_paused.is_(True), now)
    return True


def _before(connection: Any, chat: Chat) -> Takeover | None:
    statement = sa.select(conversations.c.takeover_before).where(conversations.c.id == chat.id)
    found = connection.execute(statement).scalar()
    return None if found is None else msgspec.json.decode(found, type=Takeover)


def _typed_lately(connection: Any, chat: Chat, rules: takeover.Rules, now: float) -> list[Any]:
    """Return what a person typed in a conversation that can still count, oldest first."""
    since = max(now - rules.resume_after_seconds - takeover.PROMPT_SECONDS, chat.handed_back_at or 0.0)
    rows = connection.execute(
        sa.select(messages.c.wamid, messages.c.sent_at, messages.c.received_at)
        .where(
            messages.c.conversation_id == chat.id,
            messages.c.source == PHONE,
            messages.c.by_person.is_(True),
            messages.c.received_at >= since,
        )
        .order_by(messages.c.id)
    )
    return list(rows)


def _set_number(connection: Any, phone_number_id: str, until: float | None) -> bool:
    statement = numbers.update().where(numbers.c.phone_number_id == phone_number_id)
    return bool(connection.execute(statement.values(hold=True, hold_until=until)).rowcount)


def _wake_all(connection: Any, phone_number_id: str, which: Any, now: float) -> None:
    statement = sa.select(conversations.c.id).where(conversations.c.phone_number_id == phone_number_id, which)
    wake(connection, TALK, connection.execute(statement).scalars().all(), at=now)


_MAY_BE_GREETED = Prepared(
    sa.select(conversations.c.id).where(
        conversations.c.id == sa.bindparam("this"),
        conversations.c.takeover_reason == PHONE,
        conversations.c.first_live_at == sa.bindparam("at"),
        conversations.c.history_received == 0,
    )
)
