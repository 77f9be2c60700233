"""File what Meta says about the history: chunks, the media that follow them, refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rasa_coexistence import sync_troubles
from rasa_coexistence.events import HistoryChunk, HistoryDeclined, HistoryMedia, Unreadable
from rasa_coexistence.ledger import completion, history_rows, message_rows, syncs
from rasa_coexistence.ledger.filing import Place, business_number, conversation_of
from rasa_coexistence.ledger.filing_rest import file_unreadable
from rasa_coexistence.ledger.filing_threads import Arrival, take_in, wake_import


def file_chunk_end(place: Place, event: HistoryChunk, messages: int) -> None:
    """Note that a chunk of so many messages has been filed to its end."""
    number = business_number(place, event.number)
    syncs.chunk_arrived(
        place.connection,
        number,
        phase=event.phase,
        chunk_order=event.chunk_order,
        progress=event.progress,
        messages=messages,
        at=place.received_at,
    )


def file_media(place: Place, event: HistoryMedia) -> None:
    """Put media behind their placeholder, whose direction and time stay: those of the media can be wrong."""
    number = business_number(place, event.number)
    conversation_id = conversation_of(place, number, event.contact)
    row = message_rows.find_target(place.connection, number, conversation_id, event.message.wamid)
    arrival = Arrival(conversation_id=conversation_id, contact=event.contact, is_new=False)
    if row is None:
        early = msgspec.structs.replace(event.message, status=message_rows.EARLY_MEDIA)
        arrival.add(message_rows.line(early))
        take_in(place, number, [arrival])
    elif row.source == history_rows.HISTORY:
        values = completion.of_content(row, message_rows.line(event.message))
        if values:
            message_rows.change(place.connection, row.id, **values)
            wake_import(place, [msgspec.structs.replace(arrival, conversation_id=row.conversation_id)])


def file_declined(place: Place, event: HistoryDeclined) -> None:
    """Note that the owner did not share the history, or what Meta reports instead."""
    number = business_number(place, event.number)
    said = " ".join(part for part in (event.title, event.details) if part)
    sentence = sync_troubles.sentence(event.code, said)
    syncs.declined(place.connection, number, code=event.code, sentence=sentence)


def set_aside_messages(place: Place, unreadable: Sequence[Unreadable], webhook: Callable[[str], Any]) -> None:
    """Keep the messages of a thread that could not be read."""
    for item in unreadable:
        file_unreadable(place, item, webhook)
