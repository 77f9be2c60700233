"""A turn's conversation is loaded and saved as Rasa's own methods do it: the same rows, the same tracker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from chat import ANA, BEN, CHAT, events_of, imported
from rasa.core.tracker_store import SQLTrackerStore
from rasa.shared.core.domain import Domain
from rasa.shared.core.events import Event
from rasa.shared.core.trackers import DialogueStateTracker
from stores import DOMAIN, Shelf, open_store

from rasa_coexistence.events import JSON
from rasa_coexistence.tracker_stores import tuning
from rasa_coexistence.tracker_stores.live import AnyConversations, SQLConversations, conversations_of

NOON = 1760000000.0
BEGINNING = [{"event": "action", "name": "action_session_start", "policy": None, "confidence": 1.0}]
TURN: list[JSON] = [
    {"event": "session_started"},
    {"event": "action", "name": "action_listen", "policy": "RulePolicy", "confidence": 0.99},
    {
        "event": "user",
        "text": "¿A qué hora? \ud83d\ude00 \\u0041 \ud800",
        "message_id": "wamid.A1",
        "input_channel": "whatsapp",
        "parse_data": {
            "intent": {"name": "ask_hours", "confidence": 0.9},
            "entities": [{"entity": "day", "value": "lunes", "start": 0, "end": 5}],
            "text": "¿A qué hora?",
        },
        "metadata": {"whatsapp": {"source": "live", "timestamp": NOON}},
    },
    {"event": "slot", "name": "day", "value": ["lunes", 1, None]},
    {"event": "user_featurization", "use_text_for_featurization": False},
    {"event": "entities", "entities": [{"entity": "day", "value": "lunes"}]},
    {"event": "bot", "text": "A las 9:00.", "data": {"buttons": [{"title": "x", "payload": "/y"}]}},
    {"event": "reminder", "intent": "EXTERNAL_reminder", "date_time": "2026-01-01T00:00:00", "name": "r"},
    {"event": "pause"},
    {"event": "resume"},
    {"event": "followup", "name": "action_listen"},
    {"event": "active_loop", "name": "order_form"},
    {"event": "loop_interrupted", "is_interrupted": True},
    {"event": "restart"},
    {"event": "slot", "name": "day", "value": "martes"},
]


@pytest.fixture(params=["sqlite", "postgresql"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """Give an empty SQL store of each kind, whose domain has slots."""
    with open_store(request.param, tmp_path, request.getfixturevalue) as opened:
        slots = {"day": {"type": "any", "mappings": [{"type": "custom"}]}}
        opened.inner.domain = Domain.from_dict({"slots": slots})
        yield opened


def made(events: Sequence[JSON], *, at: float) -> list[Event]:
    """Return events of Rasa's, one a second."""
    told = [{**event, "timestamp": at + second} for second, event in enumerate(events)]
    return [event for one in told if (event := Event.from_parameters(one)) is not None]


def rows(shelf: Shelf, sender_id: str) -> list[tuple[Any, ...]]:
    """Return a conversation's rows as they stand in the table."""
    names = "type_name, timestamp, intent_name, action_name, data"
    query = f"SELECT {names} FROM events WHERE sender_id = '{sender_id}' ORDER BY id"
    with shelf.inner.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def state(tracker: DialogueStateTracker) -> JSON:
    """Return all that can be seen of a tracker."""
    seen = tracker.current_state()
    told = [event.as_dict() for event in tracker.events]
    return {**seen, "sender_id": "", "events": told, "paused": tracker.is_paused()}


async def rasas_turn(shelf: Shelf, sender_id: str, events: Sequence[Event]) -> JSON:
    """Load, add events and save as Rasa does; return what was loaded."""
    tracker = await shelf.inner.get_or_create_tracker(sender_id, append_action_listen=False)
    loaded = state(tracker)
    for event in events:
        tracker.update(event, shelf.inner.domain)
    await shelf.inner.save(tracker)
    return loaded


async def our_turn(shelf: Shelf, sender_id: str, events: Sequence[Event]) -> JSON:
    """Do the same our way."""
    conversations = conversations_of(shelf.inner)
    assert isinstance(conversations, SQLConversations)
    tracker = await conversations.load(sender_id)
    loaded, stored = state(tracker), len(tracker.events)
    for event in events:
        tracker.update(event, shelf.inner.domain)
    await conversations.save(tracker, stored=stored)
    return loaded


@pytest.mark.parametrize("tuned", [False, True])
async def test_rows_and_trackers_are_those_of_rasa(shelf: Shelf, tuned: bool) -> None:
    """Over sessions, with history before them, and with nothing at all."""
    if tuned:
        assert tuning.tune(shelf.inner)
    for imports in (False, True):
        for at, turn in enumerate(([], BEGINNING, TURN, TURN[2:5], BEGINNING + TURN, TURN[4:])):
            moment = NOON + 1000 * (at + 10 * imports)
            ours = await our_turn(shelf, ANA, made(turn, at=moment))
            assert ours == await rasas_turn(shelf, BEN, made(turn, at=moment))
            assert rows(shelf, ANA) == rows(shelf, BEN)
        for sender_id in (ANA, BEN):
            await shelf.importer.replace_history([imported(sender_id, CHAT)])
    assert len(rows(shelf, ANA)) > len(events_of(*CHAT))


async def test_nobody_s_row_keeps_a_new_event_from_being_stored(shelf: Shelf) -> None:
    """Rasa skips as many new events as rows were written by others meanwhile; here all are stored."""
    conversations = conversations_of(shelf.inner)
    tracker = await conversations.load(ANA)
    for event in made(TURN[:3], at=NOON):
        tracker.update(event, shelf.inner.domain)
    await rasas_turn(shelf, ANA, made(BEGINNING, at=NOON))
    await conversations.save(tracker, stored=0)
    assert [row[0] for row in rows(shelf, ANA)] == ["action", "session_started", "action", "user"]


async def test_each_new_event_is_published_once(shelf: Shelf) -> None:
    """As Rasa does before it stores them."""

    class Broker:
        def __init__(self) -> None:
            self.told: list[JSON] = []

        def publish(self, event: JSON) -> None:
            self.told.append(event)

    shelf.inner.event_broker = broker = Broker()
    await our_turn(shelf, ANA, made(BEGINNING, at=NOON))
    await our_turn(shelf, ANA, made(TURN[2:3], at=NOON + 10))
    assert [event["event"] for event in broker.told] == ["action", "user"]


async def test_a_database_in_memory_is_read_and_written_where_rasa_does() -> None:
    """SQLite in memory has one database for each thread."""
    store = SQLTrackerStore(DOMAIN, dialect="sqlite", db=":memory:")
    shelf = Shelf(kind="memory", inner=store, store=store, importer=None)  # type: ignore[arg-type]
    await our_turn(shelf, ANA, made(BEGINNING, at=NOON))
    assert len((await our_turn(shelf, ANA, []))["events"]) == 1
    store.engine.dispose()


async def test_whoever_has_methods_of_their_own_is_asked_by_them(shelf: Shelf) -> None:
    """A subclass, or a store that somebody patched, may keep conversations elsewhere."""

    class Own(SQLTrackerStore):
        async def save(self, tracker: DialogueStateTracker) -> None:
            """Store it elsewhere."""

    own = Own(DOMAIN, dialect="sqlite", db=":memory:")
    assert isinstance(conversations_of(own), AnyConversations)
    own.engine.dispose()
    shelf.inner.engine.dialect.name, known = "oracle", shelf.inner.engine.dialect.name
    assert isinstance(conversations_of(shelf.inner), AnyConversations)
    shelf.inner.engine.dialect.name = known
    assert isinstance(conversations_of(shelf.inner), SQLConversations)
    shelf.inner.retrieve = shelf.inner.retrieve_full_tracker
    assert isinstance(conversations_of(shelf.inner), AnyConversations)


async def test_a_load_that_waits_for_another_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    """Whoever commits an import shuts readers of the file out for a moment, and Meta waits for other 200s."""
    with open_store("sqlite", tmp_path, lambda name: None) as shelf:
        await our_turn(shelf, ANA, made(TURN, at=NOON))
        with closing(shelf.inner.engine.raw_connection()) as other:  # which takes it back, whatever happens
            other.execute("BEGIN EXCLUSIVE")
            loading = asyncio.ensure_future(conversations_of(shelf.inner).load(ANA))
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert not loading.done()
        assert len((await asyncio.wait_for(loading, 5)).events) == len(made(TURN, at=NOON))
