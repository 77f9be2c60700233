"""Load and save the conversation that a turn is about.

Rasa's SQL tracker store builds each query anew, makes an object of each row, looks for the class of each
event among all there are, and counts rows to know which are new: that took half of a turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import sqlalchemy as sa
from rasa.core.tracker_store import SQLTrackerStore, TrackerStore
from rasa.shared.core.events import Event, SessionStarted
from rasa.shared.core.trackers import DialogueStateTracker

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger.dialects import insert_rows
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.tracker_stores import sql_dialects
from rasa_coexistence.tracker_stores.sql import COLUMNS, as_event

BEFORE_ALL_TIME = -1e300
KNOWN_DATABASES = frozenset({"sqlite", "postgresql", "mysql", "mariadb"})
# What a subclass, or whoever patches a store, may have changed.
_RASAS_OWN = (
    "retrieve",
    "_retrieve",
    "save",
    "_additional_events",
    "get_or_create_tracker",
    "create_tracker",
    "init_tracker",
    "session_scope",
)


class Conversations(Protocol):
    """Where a turn's conversation comes from and goes to; whoever calls holds Rasa's lock."""

    async def load(self, sender_id: str) -> DialogueStateTracker:
        """Return the tracker of the newest session, an empty one for who is new."""

    async def save(self, tracker: DialogueStateTracker, *, stored: int) -> None:
        """Store a tracker; so many of its events were loaded."""


def conversations_of(store: TrackerStore) -> Conversations:
    """Return the way to the conversations of a store that raises its errors."""
    return SQLConversations(store) if _is_rasas_own(store) else AnyConversations(store)


def _is_rasas_own(store: TrackerStore) -> bool:
    if not isinstance(store, SQLTrackerStore) or store.engine.dialect.name not in KNOWN_DATABASES:
        return False
    kind: Any = type(store)
    if kind._event_query is not SQLTrackerStore._event_query:  # ``tuning`` sets it on the store
        return False
    return all(
        getattr(kind, name) is getattr(SQLTrackerStore, name) and name not in vars(store)
        for name in _RASAS_OWN
    )


class AnyConversations:
    """A store of any kind, by its own methods."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def load(self, sender_id: str) -> DialogueStateTracker:
        """Return the tracker."""
        return await self._store.get_or_create_tracker(sender_id, append_action_listen=False)

    async def save(self, tracker: DialogueStateTracker, *, stored: int) -> None:
        """Store the tracker."""
        await self._store.save(tracker)


class SQLConversations:
    """Rasa's SQL tracker store: the same rows as its own methods read and write."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._events = store.SQLEvent.__table__
        self._newest_session = _newest_session(self._events)

    async def load(self, sender_id: str) -> DialogueStateTracker:
        """Return the tracker."""
        rows = await sql_dialects.run(self._store.engine, self._read, sender_id)
        if not rows:
            return self._store.init_tracker(sender_id)
        events = [made for (data,) in rows if (made := _made(as_event(data))) is not None]
        return DialogueStateTracker.from_events(sender_id, events, self._store.domain.slots)

    def _read(self, sender_id: str) -> list[Any]:
        with self._store.engine.connect() as connection:
            return self._newest_session.all(connection, sender=sender_id, before=BEFORE_ALL_TIME)

    async def save(self, tracker: DialogueStateTracker, *, stored: int) -> None:
        """Publish and store the events that are new."""
        await self._store.stream_events(tracker)
        rows = [_row(tracker.sender_id, event) for event in list(tracker.events)[stored:]]
        await sql_dialects.run(self._store.engine, self._insert, rows)

    def _insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._store.engine.begin() as connection:
            insert_rows(connection, self._events, COLUMNS, rows)


def _newest_session(events: Any) -> Prepared:
    """Return the query for what is not older than the newest beginning of a session, or for everything.

    Rows without a time, which Rasa does not write, are left out.
    """
    of_sender = events.c.sender_id == sa.bindparam("sender")
    earlier = events.alias("beginnings")
    began = (
        sa.select(earlier.c.timestamp)
        .where(
            earlier.c.sender_id == sa.bindparam("sender"),
            earlier.c.type_name == SessionStarted.type_name,
            earlier.c.timestamp.isnot(None),
        )
        .order_by(earlier.c.timestamp.desc())
        .limit(1)
        .scalar_subquery()
    )
    newest = events.c.timestamp >= sa.func.coalesce(began, sa.bindparam("before"))
    return Prepared(sa.select(events.c.data).where(of_sender, newest).order_by(events.c.id))


def _made(event: JSON) -> Event | None:
    """Return an event as Rasa does that loads it."""
    if "event" not in event:
        return None
    kind = _kind(event["event"])
    return None if kind is None else kind._from_parameters(event)


@cache
def _kind(name: str) -> Any:
    return Event.resolve_by_type(name)


def _row(sender_id: str, event: Event) -> tuple[Any, ...]:
    """Fill the columns as ``SQLTrackerStore.save`` does."""
    data = event.as_dict()
    intent = data.get("parse_data", {}).get("intent", {}).get("name")
    return sender_id, event.type_name, data.get("timestamp"), intent, data.get("name"), json.dumps(data)
