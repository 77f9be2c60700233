"""Every kind of Rasa tracker store, as an agent holds it, and a customer who writes live."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import mongomock
import moto
from rasa.core.tracker_store import (
    AwaitableTrackerStore,
    DynamoTrackerStore,
    FailSafeTrackerStore,
    InMemoryTrackerStore,
    MongoTrackerStore,
    RedisTrackerStore,
    SQLTrackerStore,
    TrackerStore,
)
from rasa.shared.core.domain import Domain
from rasa.shared.core.events import (
    ActionExecuted,
    BotUttered,
    Event,
    SessionStarted,
    SlotSet,
    UserUttered,
)
from rasa.shared.core.slots import TextSlot
from rasa.shared.core.trackers import DialogueStateTracker

from rasa_coexistence.events import JSON
from rasa_coexistence.tracker_stores import History, HistoryImporter, importer_for

DOMAIN = Domain.empty()
DOMAIN.slots.append(TextSlot("size", mappings=[{"type": "custom"}]))
ALL_KINDS = ["sqlite", "postgresql", "redis", "mongo", "dynamo", "memory", "custom"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A tracker store with what belongs to it."""

    kind: str
    inner: Any  # the store itself
    store: TrackerStore  # as an agent has it
    importer: HistoryImporter

    @property
    def keeps_sessions(self) -> bool:
        """Whether Rasa's own save leaves earlier sessions alone."""
        return self.kind not in ("memory", "custom")

    @property
    def splits_sessions(self) -> bool:
        """Whether Rasa reads only the last session at a turn."""
        return self.kind != "dynamo"

    async def put(self, sender_id: str, events: list[JSON]) -> None:
        """Bring one conversation's history to these events."""
        await self.importer.replace_history([history(sender_id, events)])

    async def full(self, sender_id: str) -> list[JSON]:
        """Return what Rasa reads of all sessions."""
        return as_dicts(await self.store.retrieve_full_tracker(sender_id))

    async def last_session(self, sender_id: str) -> list[JSON]:
        """Return what Rasa reads at a turn."""
        return as_dicts(await self.store.retrieve(sender_id))

    async def turn(self, sender_id: str, at: float, *, new_session: bool, text: str = "Hi") -> list[JSON]:
        """Let a customer write and the bot answer, and return the events of that turn."""
        tracker = await self.store.get_or_create_tracker(sender_id, append_action_listen=False)
        fresh = turn_events(at, new_session=new_session, text=text)
        for event in fresh:
            tracker.update(event)
        await self.store.save(tracker)
        return [event.as_dict() for event in fresh]


def history(sender_id: str, events: list[JSON]) -> History:
    """Return a history that does not look at live events."""
    return History(sender_id=sender_id, make_events=lambda first_live_at: events)


def as_dicts(tracker: DialogueStateTracker | None) -> list[JSON]:
    """Return a tracker's events as dicts."""
    return [event.as_dict() for event in tracker.events] if tracker else []


def turn_events(at: float, *, new_session: bool, text: str = "Hi") -> list[Event]:
    """Return the events of a live turn, a millisecond apart."""
    opening = [
        ActionExecuted("action_session_start", confidence=1.0),
        SessionStarted(),
        ActionExecuted("action_listen"),
    ]
    events: list[Event] = [
        *(opening if new_session else []),
        UserUttered(text, {"name": "greet", "confidence": 0.9}, metadata={"whatsapp": {"source": "live"}}),
        SlotSet("size", "M"),
        ActionExecuted("utter_greet", policy="rules", confidence=1.0),
        BotUttered(f"You said {text} ñ😀", data={"buttons": None}, metadata={"utter_action": "utter_greet"}),
        ActionExecuted("action_listen"),
    ]
    for number, event in enumerate(events):
        event.timestamp = at + number / 1000
    return events


class MongomockTrackerStore(MongoTrackerStore):
    """Rasa's store over a MongoDB in this process."""

    def __init__(self, domain: Domain) -> None:
        self.client = mongomock.MongoClient()
        self.db = self.client.rasa
        self.collection = "conversations"
        TrackerStore.__init__(self, domain)


class PlainStore(TrackerStore):
    """A custom store that knows nothing of asyncio, and replaces what it saves."""

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        self.kept: dict[str, str] = {}

    def save(self, tracker: DialogueStateTracker) -> None:
        """Replace the conversation."""
        self.kept[tracker.sender_id] = json.dumps(as_dicts(tracker))

    def retrieve(self, sender_id: str) -> DialogueStateTracker | None:
        """Return the events since the last session start."""
        events = json.loads(self.kept.get(sender_id, "[]"))
        starts = [n for n, event in enumerate(events) if event.get("name") == "action_session_start"]
        return self._tracker(sender_id, events[starts[-1] if starts else 0 :])

    def retrieve_full_tracker(self, sender_id: str) -> DialogueStateTracker | None:
        """Return all events."""
        return self._tracker(sender_id, json.loads(self.kept.get(sender_id, "[]")))

    def keys(self) -> list[str]:
        """Return all conversations."""
        return list(self.kept)

    def _tracker(self, sender_id: str, events: list[JSON]) -> DialogueStateTracker | None:
        return DialogueStateTracker.from_dict(sender_id, events, self.domain.slots) if events else None


class AppendingStore(PlainStore):
    """A custom store that appends what it has not yet of a tracker, by number, as Rasa's SQL store does."""

    def save(self, tracker: DialogueStateTracker) -> None:
        """Append the events beyond those of the last session."""
        known = as_dicts(self.retrieve(tracker.sender_id))
        kept = json.loads(self.kept.get(tracker.sender_id, "[]"))
        self.kept[tracker.sender_id] = json.dumps(kept + as_dicts(tracker)[len(known) :])


@contextmanager
def open_store(kind: str, folder: Path, fixture: Callable[[str], Any]) -> Iterator[Shelf]:
    """Open an empty store; ``fixture`` gives the servers that some need."""
    with _open(kind, folder, fixture) as store:
        wrapped = store if kind != "custom" else AwaitableTrackerStore(store)
        safe = FailSafeTrackerStore(wrapped, on_tracker_store_error=_raise)
        yield Shelf(kind=kind, inner=store, store=safe, importer=importer_for(safe))


def sql_store(url: str) -> Any:
    """Open Rasa's SQL store."""
    return SQLTrackerStore(DOMAIN, host=url)


@contextmanager
def _open(kind: str, folder: Path, fixture: Callable[[str], Any]) -> Iterator[Any]:
    if kind in ("sqlite", "postgresql"):
        database = f"sqlite:///{folder}/rasa.db" if kind == "sqlite" else fixture("postgres_database")
        store = sql_store(database)
        yield store
        store.engine.dispose()
    elif kind == "redis":
        with (store := RedisTrackerStore(DOMAIN, port=fixture("redis_port"))).red:
            yield store
    elif kind == "dynamo":
        with moto.mock_aws():
            yield DynamoTrackerStore(DOMAIN)
    else:
        yield {"mongo": MongomockTrackerStore, "memory": InMemoryTrackerStore, "custom": PlainStore}[kind](
            DOMAIN
        )


def _raise(error: Exception) -> NoReturn:
    raise error
