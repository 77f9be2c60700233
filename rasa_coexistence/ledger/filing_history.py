"""File old chat: chunks of threads, and the media that follow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from rasa_coexistence import takeover
from rasa_coexistence.events import ContactIds, HistoryChunk, HistoryDeclined, HistoryMedia, HistoryMessage
from rasa_coexistence.ledger import chats, dialects, inbox, message_rows, syncs
from rasa_coexistence.ledger.filing import Place, business_number, conversation_of, is_ignored
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.queues import IMPORT, wake
from rasa_coexistence.ledger.schema import conversations, messages
from rasa_coexistence.records import MessageState

PLACEHOLDER = "media_placeholder"


def file_chunk_end(place: Place, event: HistoryChunk) -> None:
    """Note that a chunk has been filed to its end."""
    number = business_number(place, event.number)
    syncs.chunk_arrived(
        place.connection,
        number,
        phase=event.phase,
        chunk_order=event.chunk_order,
        progress=event.progress,
        messages=sum(len(thread.messages) for thread in event.threads),
        at=place.received_at,
    )


def file_thread(
    place: Place, event: HistoryChunk, contact: ContactIds, old_chat: Sequence[HistoryMessage]
) -> int:
    """File a part of one customer's old chat and return their conversation."""
    number = business_number(place, event.number)
    conversation_id = conversation_of(place, number, contact)
    known = _known(place.connection, number, conversation_id, old_chat)
    new: dict[str, HistoryMessage] = {}
    changed = False
    for message in old_chat:
        row = known.get(message.wamid)
        if row is None and message.wamid not in new:
            new[message.wamid] = message
        elif row is not None:
            changed = _complete(place.connection, row, message) or changed
    rows = [_row(place, number, conversation_id, message) for message in new.values()]
    message_rows.insert_many(place.connection, rows)
    if new or changed:
        _note_history(place, conversation_id, contact, list(new.values()))
    return conversation_id


def file_media(place: Place, event: HistoryMedia) -> None:
    """Put media behind their placeholder, whose direction and time stay: those of the media can be wrong."""
    number = business_number(place, event.number)
    conversation_id = conversation_of(place, number, event.contact)
    message, connection = event.message, place.connection
    row = message_rows.find_target(connection, number, conversation_id, message.wamid)
    if row is None:
        early = msgspec.structs.replace(message, status=message_rows.EARLY_MEDIA)
        message_rows.insert_many(connection, [_row(place, number, conversation_id, early)])
        _note_history(place, conversation_id, event.contact, [early])
    elif row.source == "history" and row.type == PLACEHOLDER:
        message_rows.change(connection, row.id, **message_rows.said(message.content))
        _wake_import(place, row.conversation_id, event.contact)


def file_declined(place: Place, event: HistoryDeclined) -> None:
    """Note that the owner did not share the history, or what Meta reports instead."""
    number = business_number(place, event.number)
    said = " ".join(part for part in (event.title, event.details) if part)
    syncs.declined(
        place.connection, number, code=event.code, sentence=f"{event.code}: {said}", at=place.received_at
    )


def _known(
    connection: Any, number: str, conversation_id: int, old_chat: Sequence[HistoryMessage]
) -> dict[str, Any]:
    """Return the rows of messages that came before, by the wamid that they have in this chunk."""
    known: dict[str, Any] = {}
    for slice_ in dialects.in_slices(old_chat):
        wamids = [message.wamid for message in slice_]
        exact = sa.select(messages).where(messages.c.phone_number_id == number, messages.c.wamid.in_(wamids))
        known |= {row.wamid: row for row in connection.execute(exact)}
        inner = {
            (inner_id, message.from_business): message.wamid
            for message in slice_
            if message.wamid not in known and (inner_id := message_rows.inner_id(message.wamid)) is not None
        }
        if inner:
            known |= _known_by_inner_id(connection, conversation_id, inner)
    return known


def _known_by_inner_id(connection: Any, conversation_id: int, inner: dict[Any, str]) -> dict[str, Any]:
    statement = sa.select(messages).where(
        messages.c.conversation_id == conversation_id,
        messages.c.inner_id.in_({inner_id for inner_id, _from_business in inner}),
    )
    rows = connection.execute(statement).all()
    keys = [(row.inner_id, bool(row.from_business)) for row in rows]
    return {
        inner[key]: row for key, row in zip(keys, rows, strict=True) if key in inner and keys.count(key) == 1
    }


def _complete(connection: Any, row: Any, message: HistoryMessage) -> bool:
    """Add to a known message what it lacked; return whether that changes its history event."""
    if row.source != "history":
        return False
    if row.status == message_rows.EARLY_MEDIA:
        message_rows.change(
            connection,
            row.id,
            sent_at=message.sent_at,
            from_business=message.from_business,
            status=message.status,
        )
        return True
    if row.type == PLACEHOLDER and message.content.type != PLACEHOLDER:
        message_rows.change(connection, row.id, **message_rows.said(message.content))
        return True
    return False


def _row(place: Place, number: str, conversation_id: int, message: HistoryMessage) -> tuple[Any, ...]:
    content = message.content
    encoded = message_rows.encoded(content)
    return (
        number,
        conversation_id,
        message.wamid,
        message_rows.inner_id(message.wamid),
        message.from_business,
        "history",
        MessageState.KEPT.value,
        content.type[:32],
        plain(content.text),
        encoded,
        None if encoded is None else plain(msgspec.json.encode(message.raw).decode()),
        message.sent_at,
        place.received_at,
        message.status,
        False,
    )


def _note_history(
    place: Place, conversation_id: int, contact: ContactIds, new: Sequence[HistoryMessage]
) -> None:
    place.connection.execute(
        conversations.update()
        .where(conversations.c.id == conversation_id)
        .values(history_received=conversations.c.history_received + len(new))
    )
    _wake_import(place, conversation_id, contact)
    said = [message.sent_at for message in new if message.from_business and message.sent_at]
    newest = min(max(said), place.now) if said else None
    rules = place.rules.takeover
    if newest is None or not rules.enabled or newest + rules.resume_after_seconds <= place.now:
        return
    chat = chats.lock(place.connection, conversation_id)
    if chat.handed_back_at is not None and newest < chat.handed_back_at:
        return
    until = newest + rules.resume_after_seconds
    after = takeover.after_person(chat.takeover, until, reason="history", wamid=None, now=place.now)
    if after is not None:
        chats.set_takeover(place.connection, chat, after, now=place.now)


def _wake_import(place: Place, conversation_id: int, contact: ContactIds) -> None:
    if place.rules.imports_history and not is_ignored(place, contact):
        wake(place.connection, IMPORT, [conversation_id], at=place.now)


def set_aside_messages(place: Place, unreadable: Sequence[Any]) -> None:
    """Keep the messages of a thread that could not be read."""
    for item in unreadable:
        inbox.keep_aside(
            place.connection,
            reason=item.reason,
            path=item.path,
            raw=item.raw,
            received_at=place.received_at,
        )
