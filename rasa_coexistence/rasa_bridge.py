"""Drive Rasa: the one module that knows its agent, its locks and its events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from rasa.core.channels.channel import OutputChannel, UserMessage
from rasa.core.tracker_store import FailSafeTrackerStore
from rasa.shared.core.constants import ACTION_LISTEN_NAME, ACTION_SESSION_START_NAME
from rasa.shared.core.events import (
    ActionExecuted,
    BotUttered,
    ConversationPaused,
    Event,
    SessionStarted,
    UserUttered,
)
from rasa.shared.core.trackers import DialogueStateTracker
from rasa.shared.data import TrainingType

from rasa_coexistence import rasa_events, rasa_locks, rasa_nlu
from rasa_coexistence.errors import Postponed
from rasa_coexistence.events import JSON
from rasa_coexistence.faults import fault
from rasa_coexistence.to_rasa import INPUT_CHANNEL, is_history
from rasa_coexistence.tracker_stores import HistoryImporter, importer_for
from rasa_coexistence.tracker_stores.live import Conversations, conversations_of

log = structlog.get_logger(__name__)


class RasaBridge:
    """Rasa as the worker needs it; the agent is asked for at each use, since a new model replaces it."""

    def __init__(self, agent: Callable[[], Any]) -> None:
        self._agent = agent
        self._importer: tuple[Any, HistoryImporter] | None = None
        self._conversations: tuple[Any, Conversations] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a model is loaded."""
        agent = self._agent()
        return agent is not None and bool(agent.is_ready())

    @property
    def domain(self) -> Any:
        """The domain of the model that is loaded; raise Postponed while there is none."""
        return self._processor().domain

    @property
    def session_expiration_seconds(self) -> float:
        """How long a session lasts after its last event; 0 for ever."""
        return float(self.domain.session_config.session_expiration_time) * 60

    def has_intent(self, name: str) -> bool:
        """Tell whether the domain has an intent."""
        return name in self.domain.intents

    def importer(self) -> HistoryImporter:
        """Return what puts history into the tracker store that Rasa uses."""
        store = self.tracker_store
        if self._importer is None or self._importer[0] is not store:
            self._importer = (store, importer_for(store))
        return self._importer[1]

    @property
    def event_broker(self) -> Any:
        """What Rasa publishes events to; None where it does not."""
        return self.tracker_store.event_broker

    @property
    def tracker_store(self) -> Any:
        """The tracker store, as Rasa has wrapped it."""
        return self._ready_agent().tracker_store

    async def parse(self, text: str, *, guarded: bool) -> JSON:
        """Return what NLU makes of a text; ``guarded`` text never becomes an intent by a leading slash."""
        return await rasa_nlu.parse(self._processor(), text, guarded=guarded)

    @contextlib.asynccontextmanager
    async def locked(self, sender_ids: Sequence[str]) -> AsyncIterator[None]:
        """Hold Rasa's locks of these conversations; raise Postponed when one cannot be had."""
        lock_store = self._ready_agent().lock_store
        async with contextlib.AsyncExitStack() as stack:
            for sender_id in sorted(sender_ids):
                await stack.enter_async_context(rasa_locks.held(lock_store, sender_id))
            yield

    @contextlib.asynccontextmanager
    async def opened(self, sender_id: str) -> AsyncIterator[OpenTracker]:
        """Open a conversation's tracker under Rasa's lock; nothing is stored until ``save``."""
        async with self.locked([sender_id]):
            processor = self._processor()
            store = self._conversations_of(_raising_store(processor.tracker_store))
            with _postponing("the tracker store failed to read"):
                tracker = await store.load(sender_id)
            tracker.model_id = processor.model_metadata.model_id
            if tracker.assistant_id is None:
                tracker.assistant_id = processor.model_metadata.assistant_id
            yield OpenTracker(processor, store, tracker)

    def _conversations_of(self, store: Any) -> Conversations:
        if self._conversations is None or self._conversations[0] is not store:
            self._conversations = (store, conversations_of(store))
        return self._conversations[1]

    def _ready_agent(self) -> Any:
        if not self.is_ready:
            raise Postponed("Rasa has no model loaded")
        return self._agent()

    def _processor(self) -> Any:
        return self._ready_agent().processor


class OpenTracker:
    """One conversation's tracker while we work on it."""

    def __init__(self, processor: Any, store: Conversations, tracker: DialogueStateTracker) -> None:
        self._processor = processor
        self._store = store
        self._tracker = tracker
        self._stored = len(tracker.events)

    @property
    def is_paused(self) -> bool:
        """Whether the tracker says that the bot is silent."""
        return bool(self._tracker.is_paused())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever said here."""
        return not self._tracker.events

    @property
    def last_heard(self) -> str | None:
        """The wamid of what a customer said last, None if that was no message."""
        heard = [event for event in self._tracker.events if rasa_events.is_heard(event)]
        return heard[-1].message_id if heard else None

    @property
    def bot_paused_itself(self) -> bool:
        """Whether the last pause is the bot's own, not one that we wrote."""
        pauses = [event for event in self._tracker.events if isinstance(event, ConversationPaused)]
        return self.is_paused and bool(pauses) and "whatsapp" not in pauses[-1].metadata

    @property
    def session_said_at(self) -> float | None:
        """When the first live message of this session was sent, None before there is one."""
        said_at: float | None = None
        for event in reversed(self._tracker.events):
            if isinstance(event, SessionStarted):
                break
            facts = event.metadata.get("whatsapp") or {}
            if facts.get("source") in ("live", "phone") and facts.get("timestamp") is not None:
                said_at = min(facts["timestamp"], facts["timestamp"] if said_at is None else said_at)
        return said_at

    def has_heard(self, wamid: str) -> bool:
        """Tell whether a live message stands in the tracker already: its turn was saved before a crash."""
        return any(
            isinstance(event, UserUttered) and event.message_id == wamid and not is_history(_facts(event))
            for event in self._tracker.events
        )

    def has_noted(self, kind: type[Event], **facts: str) -> bool:
        """Tell whether the tracker has a live event with these facts in ``metadata.whatsapp``."""
        return any(
            isinstance(event, kind)
            and facts.items() <= (event.metadata.get("whatsapp") or {}).items()
            and not is_history(_facts(event))
            for event in self._tracker.events
        )

    async def begin_session_if_due(self, now: float, channel: OutputChannel) -> bool:
        """Start a new session if the newest event of any kind is older than the session allows."""
        if self._tracker.applied_events() and not self._session_has_expired(now):
            return False
        # Rasa copies every slot event of the last session into the next: give it only each slot's last one.
        brief = self._copy(list(rasa_events.without_repeated_slots(self._tracker.applied_events())))
        before = len(brief.events)
        prediction = self._session_start_prediction()
        action = self._processor._get_action(ACTION_SESSION_START_NAME)
        await self._processor._run_action(action, brief, channel, self._processor.nlg, prediction)
        self._take_from(brief, after=before)
        return True

    def add(self, event: JSON, *, now: float) -> None:
        """Add an event, stamped now and never before the last one: Rasa would not load it."""
        last = max((known.timestamp for known in self._tracker.events), default=0.0)
        made = Event.from_parameters({**event, "timestamp": max(now, last)})
        self._tracker.update(made, self._processor.domain)

    def set_slots(self, values: Mapping[str, Any], *, now: float) -> None:
        """Set those of the slots that the domain has and that change."""
        for name, value in values.items():
            if name in self._tracker.slots and self._tracker.get_slot(name) != value:
                metadata = {"whatsapp": {"source": "context"}}
                self.add({"event": "slot", "name": name, "value": value, "metadata": metadata}, now=now)

    async def hear(
        self, text: str, *, typed: bool, wamid: str, metadata: JSON, parse_data: JSON | None = None
    ) -> None:
        """Log what a customer said; ``typed`` text never becomes an intent by a leading slash."""
        self._end_turn_of_pause()
        if parse_data is None:
            parse_data = await rasa_nlu.parse(self._processor, text, guarded=typed, tracker=self._tracker)
        message = UserMessage(
            text,
            sender_id=self._tracker.sender_id,
            input_channel=INPUT_CHANNEL,
            message_id=wamid,
            parse_data=parse_data,
            metadata=metadata,
        )
        await self._processor._handle_message_with_tracker(message, self._tracker)

    async def answer(self, channel: OutputChannel) -> None:
        """Let the bot answer the last thing that a customer said."""
        if self._processor.model_metadata.training_type == TrainingType.NLU:
            return
        events = list(rasa_events.without_missed_triggers(self._tracker.events))
        misses = len(events) < len(self._tracker.events)
        tracker = self._copy(events) if misses else self._tracker
        tracker = await self._processor.run_action_extract_slots(channel, tracker)
        await self._processor._run_prediction_loop(channel, tracker)
        if misses:
            self._take_from(tracker, after=len(events))
        self._end_turn_of_pause()

    def mark_held_back(self, timestamps: Iterable[float], reason: str) -> None:
        """Say in the tracker which of the bot's messages did not leave, and why."""
        wanted = set(timestamps)
        for event in self._tracker.events:
            if isinstance(event, BotUttered) and event.timestamp in wanted:
                whatsapp = {**(event.metadata.get("whatsapp") or {}), "held_back": reason}
                event.metadata = {**event.metadata, "whatsapp": whatsapp}

    async def save(self) -> None:
        """Store the tracker; raise Postponed when the store fails."""
        rasa_events.keep_in_session(self._tracker.events, after=self._stored)
        with _postponing("the tracker store failed to write"):
            await self._processor.run_anonymization_pipeline(self._tracker)
            await self._store.save(self._tracker, stored=self._stored)

    def _copy(self, events: list[Event]) -> DialogueStateTracker:
        domain = self._processor.domain
        sender_id = self._tracker.sender_id
        return DialogueStateTracker.from_events(sender_id, events, slots=domain.slots, domain=domain)

    def _take_from(self, copy: DialogueStateTracker, *, after: int) -> None:
        """Add what happened in a copy after so many events."""
        for event in list(copy.events)[after:]:
            self._tracker.update(event, self._processor.domain)

    def _end_turn_of_pause(self) -> None:
        """Let a turn in which the bot paused itself end as others do.

        Rasa leaves it without ``action_listen``; when the bot speaks again, rules would not know what to do
        with a message, and the action that paused would run once more.
        """
        if self.is_paused and self._tracker.latest_action_name not in (None, ACTION_LISTEN_NAME):
            self._tracker.update(ActionExecuted(ACTION_LISTEN_NAME), self._processor.domain)

    def _session_has_expired(self, now: float) -> bool:
        config = self._processor.domain.session_config
        newest = max((event.timestamp for event in self._tracker.events), default=now)
        return bool(config.are_sessions_enabled()) and now - newest > config.session_expiration_time * 60

    def _session_start_prediction(self) -> Any:
        from rasa.core.policies.policy import PolicyPrediction

        return PolicyPrediction.for_action_name(self._processor.domain, ACTION_SESSION_START_NAME)


def _raising_store(store: Any) -> Any:
    """Return the store within Rasa's fail-safe one, which swallows errors and loses the turn."""
    return store._tracker_store if isinstance(store, FailSafeTrackerStore) else store


@contextlib.contextmanager
def _postponing(what: str) -> Any:
    try:
        yield
    except Exception as error:
        log.warning("rasa.tracker_store_failed", what=what, **fault(error))
        raise Postponed(f"{what}: {type(error).__name__}") from error


def _facts(event: Event) -> JSON:
    return {"metadata": event.metadata}
