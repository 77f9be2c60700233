"""File the threads of the history: old messages of many customers at once, each message once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence import takeover
from rasa_coexistence.events import ContactIds, HistoryMessage, NumberRef
from rasa_coexistence.ledger import (
    amendments,
    chats,
    completion,
    dialects,
    history_rows,
    message_rows,
    takeovers,
)
from rasa_coexistence.ledger.filing import Place, business_number, is_ignored
from rasa_coexistence.ledger.many_people import resolve_many
from rasa_coexistence.ledger.message_rows import Line
from rasa_coexistence.ledger.queues import IMPORT, wake
from rasa_coexistence.ledger.schema import messages


class OldChat(Struct, frozen=True, kw_only=True):
    """A part of one customer's old chat."""

    number: NumberRef
    contact: ContactIds
    lines: list[Line]


class Arrival(Struct, frozen=True, kw_only=True):
    """What comes into one conversation."""

    conversation_id: int
    contact: ContactIds
    is_new: bool  # nothing of this can be known already
    lines: dict[Any, Line] = {}  # by what makes them one message
    wamids: dict[str, Any] = {}  # the same, by each of its wamids

    def add(self, line: Line) -> None:
        """Take a message in, or what it adds to one that is here already."""
        same = (line.inner_id, line.from_business) if line.inner_id else line.wamid
        same = self.wamids.setdefault(line.wamid, same)
        first = self.lines.setdefault(same, line)
        if first is not line:
            self.lines[same] = first._replace(**completion.of(first, line))


def old_chat(number: NumberRef, contact: ContactIds, said: Iterable[HistoryMessage]) -> OldChat:
    """Make ready what can be made ready before the database is locked."""
    return OldChat(number=number, contact=contact, lines=[message_rows.line(message) for message in said])


def file_old_chats(place: Place, parts: Sequence[OldChat]) -> None:
    """File parts of old chat in a few statements, however many customers they are of."""
    for number_ref, run in itertools.groupby(parts, key=attrgetter("number")):
        number, its_parts = business_number(place, number_ref), list(run)
        contacts = [part.contact for part in its_parts]
        found = resolve_many(
            place.connection, number, contacts, now=place.now, sender_id=place.rules.sender_id
        )
        arrivals: dict[int, Arrival] = {}
        for part, chat in zip(its_parts, found, strict=True):
            arrival = Arrival(conversation_id=chat.id, contact=part.contact, is_new=chat.is_new)
            arrivals.setdefault(chat.id, arrival)
            for line in part.lines:
                arrivals[chat.id].add(line)
        take_in(place, number, list(arrivals.values()))


def take_in(place: Place, number: str, arrivals: Sequence[Arrival]) -> None:
    """Write what is not known yet, complete what is, and have the conversations imported again."""
    rows: list[tuple[Any, ...]] = []
    counts: dict[int, int] = {}
    changed: dict[int, Arrival] = {}
    for arrival in arrivals:
        known = {} if arrival.is_new else _known(place.connection, number, arrival)
        completed = [_complete(place.connection, row, arrival.lines[same]) for same, row in known.items()]
        unknown = [line for same, line in arrival.lines.items() if same not in known]
        rows += [(number, arrival.conversation_id, place.received_at, *line) for line in unknown]
        if unknown:
            counts[arrival.conversation_id] = len(unknown)
            _let_person_have(place, arrival.conversation_id, unknown)
        if unknown or any(completed):
            changed[arrival.conversation_id] = arrival
    history_rows.came_in(place.connection, counts)
    if message_rows.insert_lines(place.connection, rows) < len(rows):  # some stand in other conversations
        history_rows.count_anew(place.connection, counts)
    for arrival in _amended(place, number, arrivals):
        changed[arrival.conversation_id] = arrival
    wake_import(place, changed.values())


def wake_import(place: Place, arrivals: Iterable[Arrival]) -> None:
    """Have the history of conversations imported, unless the owner does not want it."""
    if place.rules.imports_history:
        ids = [
            arrival.conversation_id
            for arrival in arrivals
            if not is_ignored(place, arrival.contact, arrival.conversation_id)
        ]
        wake(place.connection, IMPORT, ids, at=place.now)


def _complete(connection: Any, row: Any, line: Line) -> bool:
    """Add to a known message what it lacked; return whether that changes its history event."""
    if row.source != history_rows.HISTORY:
        return False
    values = completion.of(row, line)
    if values:
        message_rows.change(connection, row.id, **values)
    return bool(values)


def _amended(place: Place, number: str, arrivals: Sequence[Arrival]) -> Iterator[Arrival]:
    """Apply edits and revokes that came, or whose messages came; yield where that changed old chat."""
    known = [arrival.conversation_id for arrival in arrivals if not arrival.is_new]
    concerned = amendments.waiting_in(place.connection, known)
    for arrival in arrivals:
        lines = arrival.lines.values()
        if arrival.conversation_id in concerned or any(line.target for line in lines):
            keys = [line.target or message_rows.key(line.wamid) for line in lines]
            if amendments.settle(place.connection, number, arrival.conversation_id, keys):
                yield arrival


_KNOWN = (
    "id",
    "source",
    "edited_text",
    "wamid",
    "inner_id",
    "from_business",
    "sent_at",
    "status",
    "type",
    "text",
    "content",
)
_ROW = sa.select(*(messages.c[name] for name in _KNOWN))
_BY_INNER_ID = _ROW.where(
    messages.c.conversation_id == sa.bindparam("conversation"),
    messages.c.inner_id.in_(sa.bindparam("ids", expanding=True)),
)
_BY_WAMID = _ROW.where(
    messages.c.phone_number_id == sa.bindparam("number"),
    messages.c.wamid.in_(sa.bindparam("ids", expanding=True)),
)


def _known(connection: Any, number: str, arrival: Arrival) -> dict[Any, Any]:
    """Return the rows of messages that came before: by exact wamid, else by inner id and direction."""
    rows: list[Any] = []
    for lines in dialects.in_slices(arrival.lines.values()):
        inner_ids = [line.inner_id for line in lines if line.inner_id]
        wamids = [line.wamid for line in lines if not line.inner_id]
        if inner_ids:
            which = {"conversation": arrival.conversation_id, "ids": inner_ids}
            rows += connection.execute(_BY_INNER_ID, which)
        if wamids:
            rows += connection.execute(_BY_WAMID, {"number": number, "ids": wamids})
    exact = {row.wamid: row for row in rows}
    alike: dict[Any, Any] = {}
    for row in exact.values():
        # Of media that came before their message, not even the direction is sure.
        sides = (True, False) if row.status == message_rows.EARLY_MEDIA else (bool(row.from_business),)
        for side in sides:
            key = (row.inner_id, side)
            alike[key] = None if key in alike else row  # of two that fit, neither is taken
    found = {same: exact.get(line.wamid) or alike.get(same) for same, line in arrival.lines.items()}
    return {same: row for same, row in found.items() if row is not None}


def _let_person_have(place: Place, conversation_id: int, lines: Iterable[Line]) -> None:
    """Give a conversation to the person who wrote in it only just now."""
    said = [
        line.sent_at
        for line in lines
        if line.from_business and line.sent_at and line.type not in takeover.NEVER_A_PERSON
    ]
    newest = max(said, default=None)
    rules = place.rules.takeover
    if newest is None or newest + rules.resume_after_seconds <= place.now:
        return
    chat = chats.lock(place.connection, conversation_id)
    after = takeover.after_history(chat.takeover, newest, chat.handed_back_at, rules, place.now)
    if after is not None:
        takeovers.write(place.connection, chat, after, now=place.now)
