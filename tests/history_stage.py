"""A ledger, a reader, an importer and silent turns around any tracker store, step by step as a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from channels import credentials
from ledgers import NOW, NUMBER, Clock, accept, as_bytes
from rasa.core.actions.action import ActionSessionStart
from rasa.core.lock_store import InMemoryLockStore
from rasa.core.tracker_store import TrackerStore
from rasa.shared.core.domain import Domain
from rasa.shared.core.events import ActionExecuted, Event, UserUttered

from rasa_coexistence.errors import LeaseLost
from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import jobs, queues, syncs
from rasa_coexistence.service import Service
from rasa_coexistence.settings import Settings
from rasa_coexistence.simulator.state import Webhook

SLOTS = ("history", "customer_name", "returning_customer", "days_since_last_contact")
DOMAIN = Domain.from_dict(
    {
        "session_config": {"session_expiration_time": 60, "carry_over_slots_to_new_session": True},
        "slots": {f"whatsapp_{name}": {"type": "any", "mappings": [{"type": "custom"}]} for name in SLOTS},
    }
)


class SilentAgent:
    """What our bridge touches of an agent: a real tracker store and real session starts, but no model."""

    def __init__(self, store: TrackerStore, clock: Clock, domain: Domain = DOMAIN) -> None:
        self.tracker_store = store
        self.lock_store = InMemoryLockStore()
        self.processor = SilentProcessor(self, clock, domain)
        store.domain = domain

    def is_ready(self) -> bool:
        """Tell that there is something to work with."""
        return True


class SilentProcessor:
    """Hears everything and says nothing."""

    def __init__(self, agent: SilentAgent, clock: Clock, domain: Domain) -> None:
        self.domain = domain
        self.tracker_store = agent.tracker_store
        self.nlg = None
        self.model_metadata = SimpleNamespace(model_id="m", assistant_id="a", training_type=None)
        self.parsed: list[str] = []  # what NLU was given
        self._clock = clock

    def _get_action(self, _name: str) -> ActionSessionStart:
        return ActionSessionStart()

    async def _run_action(self, action: ActionSessionStart, tracker: Any, *_others: Any) -> None:
        self._update(tracker, ActionExecuted(action.name()))
        for event in await action.run(None, None, tracker, self.domain):
            self._update(tracker, event)

    async def parse_message(self, message: Any, _tracker: Any = None) -> JSON:
        """Take the first word for the intent."""
        self.parsed.append(message.text)
        words = message.text.lower().split()
        entity = {"entity": "word", "value": words[-1], "start": 0, "end": len(message.text)}
        return {"text": message.text, "intent": {"name": words[0], "confidence": 0.9}, "entities": [entity]}

    async def _handle_message_with_tracker(self, message: Any, tracker: Any) -> None:
        parsed = message.parse_data
        heard = UserUttered(
            message.text,
            parsed["intent"],
            parsed["entities"],
            parsed,
            message_id=message.message_id,
            metadata=message.metadata,
            input_channel=message.input_channel,
        )
        self._update(tracker, heard)

    async def run_action_extract_slots(self, _channel: Any, tracker: Any) -> Any:
        """Change nothing."""
        return tracker

    async def _run_prediction_loop(self, _channel: Any, tracker: Any) -> None:
        self._update(tracker, ActionExecuted("action_listen"))

    async def run_anonymization_pipeline(self, _tracker: Any) -> None:
        """Change nothing."""

    def _update(self, tracker: Any, event: Event) -> None:
        event.timestamp = self._clock()
        tracker.update(event, self.domain)


class Stage:
    """Everything between a webhook and the tracker store."""

    def __init__(self, agent: SilentAgent, settings: Settings, clock: Clock) -> None:
        self.agent, self.settings, self.clock = agent, settings, clock
        self._service = Service(settings, lambda: agent, clock)  # whose loops never start: we are its worker
        self.database = self._service.database
        self.bridge = self._service.bridge
        self.reader = self._service._reader
        self.worker = self._service.worker
        self.importer = self.worker._history
        self.parse = self._service._parsing()
        self._visit = self.worker._visits[queues.TALK]

    async def accept(self, *bodies: bytes | JSON | Webhook) -> None:
        """Store bodies as the routes do, in this order."""
        for body in bodies:
            await accept(self.database, as_bytes(body), at=self.clock())

    async def tell(self, *bodies: bytes | JSON | Webhook) -> None:
        """Accept bodies, and do all that follows from them."""
        await self.accept(*bodies)
        await self.settle()

    async def read(self) -> None:
        """Read all that was accepted."""
        while await self.reader.read_live() or await self.reader.read_history():
            pass

    async def settle(self) -> None:
        """Read, talk and import until nothing more is due."""
        await self.read()
        while await self.talk_once() or await self.import_once():
            pass

    async def talk_once(self) -> bool:
        """Visit the conversations in which somebody wrote."""
        leases = await self._claim(queues.TALK)
        for lease in leases:
            try:
                due_at = await self._visit(lease)
            except LeaseLost:
                continue
            if not isinstance(due_at, queues.Released):
                await self.database.write(queues.release, lease, due_at=due_at)
        return bool(leases)

    async def import_once(self) -> bool:
        """Import the conversations whose history changed."""
        leases = await self._claim(queues.IMPORT)
        if leases:
            await self.importer.import_leased(leases)
        return bool(leases)

    async def _claim(self, queue: str) -> list[queues.Lease]:
        now = self.clock()
        return await self.database.write(queues.claim, queue, owner="stage", now=now, limit=64)

    async def events(self, sender_id: str) -> list[JSON]:
        """Return what the tracker store has of a conversation."""
        return await self.bridge.importer().read_events(sender_id)

    async def said(self, sender_id: str) -> list[str]:
        """Return the texts of a conversation's tracker."""
        events = await self.events(sender_id)
        return [event["text"] for event in events if event["event"] in ("user", "bot")]

    async def slots(self, sender_id: str) -> dict[str, Any]:
        """Return the context as a bot sees it."""
        tracker = await self.agent.tracker_store.retrieve(sender_id)
        assert tracker is not None
        return {name: tracker.get_slot(f"whatsapp_{name}") for name in SLOTS}

    async def status(self) -> JSON:
        """Return how far the number's history is, as the route tells it."""
        found = await self.database.read(syncs.status, NUMBER.phone_number_id)
        assert found is not None
        return found

    async def complete(self) -> list[str]:
        """Let the clock of the sync tick."""
        quiet = self.settings.history.quiet_seconds
        return await self.database.write(syncs.complete_what_is_done, now=self.clock(), quiet_seconds=quiet)

    async def close(self) -> None:
        """Let go of the ledger."""
        await self.database.close()

    async def forget(self, conversation_id: int) -> str:
        """Ask for a customer to be forgotten, do it, and return what the job says of itself."""
        job = await self.database.write(
            jobs.file, jobs.FORGET, now=self.clock(), conversation_id=conversation_id
        )
        await self.settle()
        done = await self.database.read(jobs.get, job)
        return f"{done.state}: {done.outcome}"


@asynccontextmanager
async def open_stage(
    store: TrackerStore, ledger_url: str, *, now: float = NOW, **changes: Any
) -> AsyncIterator[Stage]:
    """Open a stage on a ledger of its own; ``changes`` are settings."""
    block = credentials(ledger_url, phone_number_id=NUMBER.phone_number_id, **changes)
    clock = Clock(now)
    stage = Stage(SilentAgent(store, clock), Settings.from_credentials(block), clock)
    stage.database.open()
    try:
        yield stage
    finally:
        await stage.close()
