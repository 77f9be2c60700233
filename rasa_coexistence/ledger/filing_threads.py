"""File the threads of the history: old messages of many customers at once, each message once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence import takeover
from rasa_coexistence.events import ContactIds, HistoryMessage, NumberRef
from rasa_coexistence.ledger import chats, dialects, message_rows, takeovers
from rasa_coexistence.ledger.filing import Place, business_number, is_ignored
from rasa_coexistence.ledger.many_people import resolve_many
from rasa_coexistence.ledger.message_rows import PLACEHOLDER, Line
from rasa_coexistence.ledger.queues import IMPORT, wake
from rasa_coexistence.ledger.schema import conversations, messages


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
            _gather(arrivals.setdefault(chat.id, arrival).lines, part.lines)
        take_in(place, number, list(arrivals.values()))


def take_in(place: Place, number: str, arrivals: Sequence[Arrival]) -> None:
    """Write what is not known yet, complete what is, and have the conversations imported again."""
    rows: list[tuple[Any, ...]] = []
    counts: list[dict[str, int]] = []
    changed: list[Arrival] = []
    for arrival in arrivals:
        known = {} if arrival.is_new else _known(place.connection, number, arrival)
        completed = [complete(place.connection, row, arrival.lines[same]) for same, row in known.items()]
        unknown = [line for same, line in arrival.lines.items() if same not in known]
        rows += [(number, arrival.conversation_id, place.received_at, *line) for line in unknown]
        if unknown:
            counts.append({"conversation": arrival.conversation_id, "more": len(unknown)})
            _let_person_have(place, arrival.conversation_id, unknown)
        if unknown or any(completed):
            changed.append(arrival)
    message_rows.insert_lines(place.connection, rows)
    if counts:
        place.connection.execute(_COUNT, counts)
    wake_import(place, changed)


def wake_import(place: Place, arrivals: Iterable[Arrival]) -> None:
    """Have the history of conversations imported, unless the owner does not want it."""
    if place.rules.imports_history:
        ids = [arrival.conversation_id for arrival in arrivals if not is_ignored(place, arrival.contact)]
        wake(place.connection, IMPORT, ids, at=place.now)


def complete(connection: Any, row: Any, line: Line) -> bool:
    """Add to a known message what it lacked; return whether that changes its history event."""
    if row.source != "history":
        return False
    if row.status == message_rows.EARLY_MEDIA:
        values = {"sent_at": line.sent_at, "from_business": line.from_business, "status": line.status}
        message_rows.change(connection, row.id, **values)
        return True
    if row.type == PLACEHOLDER and line.type != PLACEHOLDER:
        message_rows.change(connection, row.id, type=line.type, text=line.text, content=line.content)
        return True
    return False


_COUNT = (
    conversations.update()
    .where(conversations.c.id == sa.bindparam("conversation"))
    .values(history_received=conversations.c.history_received + sa.bindparam("more"))
)
_ROW = sa.select(
    *(messages.c[name] for name in ("id", "wamid", "inner_id", "from_business", "source", "status", "type"))
)
_BY_INNER_ID = _ROW.where(
    messages.c.conversation_id == sa.bindparam("conversation"),
    messages.c.inner_id.in_(sa.bindparam("ids", expanding=True)),
)
_BY_WAMID = _ROW.where(
    messages.c.phone_number_id == sa.bindparam("number"),
    messages.c.wamid.in_(sa.bindparam("ids", expanding=True)),
)


def _gather(lines: dict[Any, Line], more: Iterable[Line]) -> None:
    for line in more:
        same = (line.inner_id, line.from_business) if line.inner_id else line.wamid
        first = lines.setdefault(same, line)
        if first.type == PLACEHOLDER and line.type != PLACEHOLDER:
            lines[same] = first._replace(type=line.type, text=line.text, content=line.content, raw=line.raw)


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
        key = (row.inner_id, bool(row.from_business))
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
