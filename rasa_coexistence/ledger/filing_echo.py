"""File what was sent from the phone: the conversation is the person's at once, Rasa hears of it in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
import structlog

from rasa_coexistence import takeover
from rasa_coexistence.events import Content, PhoneEcho
from rasa_coexistence.ledger import chats, history_rows, message_rows, takeovers
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.filing import (
    Place,
    apply_to_target,
    business_number,
    conversation_of,
    is_ignored,
)
from rasa_coexistence.ledger.queues import TALK, wake
from rasa_coexistence.ledger.schema import conversations, messages
from rasa_coexistence.records import MessageState, Takeover

log = structlog.get_logger(__name__)

BROADCAST_SECONDS = 10.0
BROADCAST_ROWS = 50  # of which those of a person are few: from the third chat on none is taken for one


def file_phone_echo(place: Place, event: PhoneEcho) -> None:
    """Queue what was sent from the phone, once, and give the conversation to the person at once."""
    number = business_number(place, event.number)
    conversation_id = conversation_of(place, number, event.contact)
    connection = place.connection
    place.numbers.phone_was_active.add(number)
    chat = chats.lock(connection, conversation_id)  # first: our sender may be learning this very wamid
    known = message_rows.find(connection, number, conversation_id, event.wamid, from_business=True)
    if known is not None and not _belongs_to_live_chat(known, chat):
        return  # a redelivery, a message of our own, or old chat
    ordered = takeover.command(event.content.type, event.content.text, place.rules.takeover)
    silent = ordered is not None or is_ignored(place, event.contact, conversation_id)
    state = MessageState.KEPT if silent else MessageState.WAITING
    if known is None:
        message_rows.insert(
            connection,
            phone_number_id=number,
            conversation_id=conversation_id,
            wamid=event.wamid,
            from_business=True,
            source=takeovers.PHONE,
            state=state,
            content=event.content,
            raw=event.raw,
            sent_at=event.sent_at,
            received_at=place.received_at,
        )
    else:  # it leaves the old chat and joins the live one, where its place is
        values = message_rows.said(event.content) | {"source": takeovers.PHONE, "state": state.value}
        message_rows.change(connection, known.id, received_at=place.received_at, **values)
        history_rows.left(connection, known.conversation_id, now=place.now)
    apply_to_target(place, number, conversation_id, event)
    if not is_ignored(place, event.contact, conversation_id):
        _decide(place, chat, event, wamid=event.wamid if known is None else known.wamid, ordered=ordered)
    wake(connection, TALK, [conversation_id], at=place.now)


def _belongs_to_live_chat(known: Any, chat: Chat) -> bool:
    """Tell whether the history was faster with what was typed after the customer wrote live."""
    said_at = known.sent_at or known.received_at
    return known.source == "history" and chat.first_live_at is not None and said_at >= chat.first_live_at


def _decide(place: Place, chat: Chat, event: PhoneEcho, *, wamid: str, ordered: str | None) -> None:
    """Write down whether a person typed, and who has the conversation now."""
    others = _chats_with_the_same(place, chat, event.content)
    echo = takeover.Echo(
        wamid=wamid,
        type=event.content.type,
        text=event.content.text,
        sent_at=event.sent_at,
        automatic=event.automatic,
        same_text_chats=len({other.conversation_id for other in others}),
        since_first_contact=_since_first_contact(place, chat, event, wamid),
        handed_back_at=chat.handed_back_at,
        last_person_at=chat.last_business_at,
    )
    rules, now = place.rules.takeover, place.now
    why_not = takeover.not_a_person(echo, rules, now)
    typed = ordered is None and why_not not in takeover.NOBODY
    _note(place, chat, echo, typed=typed)
    after = takeover.after_echo(chat.takeover, echo, rules, now)
    if ordered is not None:
        log.info("takeover.keyword", conversation=chat.id, keyword=ordered, obeyed=after is not None)
    if after is None:
        if why_not == "broadcast" and ordered is None:
            for other in others:
                if not other.by_person:
                    continue  # known by now as what it is
                takeovers.undo(place.connection, other.conversation_id, other.wamid, rules, now=now)
    elif after.mode == "bot":
        handed_back_at = takeover.handed_back_at(event.sent_at, now)
        after = Takeover(reason="resume_keyword")
        takeovers.write(place.connection, chat, after, now=now, handed_back_at=handed_back_at)
    else:
        takeovers.take(place.connection, chat, after, now=now)


def _note(place: Place, chat: Chat, echo: takeover.Echo, *, typed: bool) -> None:
    row = sa.and_(messages.c.phone_number_id == chat.phone_number_id, messages.c.wamid == echo.wamid)
    place.connection.execute(messages.update().where(row).values(by_person=typed))
    said_at = min(echo.sent_at or place.received_at, place.received_at)
    if typed and said_at > (chat.last_business_at or 0.0):
        statement = conversations.update().where(conversations.c.id == chat.id)
        place.connection.execute(statement.values(last_business_at=said_at))


def _chats_with_the_same(place: Place, chat: Chat, content: Content) -> Sequence[Any]:
    """Return where else the phone sent the same text or file within seconds, and the wamid there.

    A broadcast can go to hundreds: those that were taken for a person's come first, and a few are enough.
    """
    if content.typed and content.text:
        same = messages.c.text == content.text
    elif sha256 := str((content.fields.get("media") or {}).get("sha256") or ""):
        same = messages.c.content.contains(f'"sha256":"{sha256}"', autoescape=True)
    else:
        return []
    rows = place.connection.execute(
        sa.select(messages.c.conversation_id, messages.c.wamid, messages.c.by_person)
        .where(
            messages.c.source == sa.literal_column("'phone'"),  # as the partial index has it
            messages.c.received_at > place.received_at - BROADCAST_SECONDS,
            messages.c.phone_number_id == chat.phone_number_id,
            messages.c.conversation_id != chat.id,
            messages.c.type == content.type,
            same,
        )
        .order_by(messages.c.by_person.desc(), messages.c.id)
        .limit(BROADCAST_ROWS)
    )
    found: Sequence[Any] = rows.all()
    return found


def _since_first_contact(place: Place, chat: Chat, event: PhoneEcho, wamid: str) -> float | None:
    """Return how long after a customer's very first message an echo was sent; None for old friends."""
    if chat.first_live_at is None or chat.history_received:
        return None
    earlier = place.connection.execute(
        sa.select(messages.c.id)
        .where(
            messages.c.conversation_id == chat.id,
            messages.c.source == takeovers.PHONE,
            messages.c.wamid != wamid,
        )
        .limit(1)
    ).first()
    return None if earlier else (event.sent_at or place.received_at) - chat.first_live_at
