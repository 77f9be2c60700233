"""Put history into a tracker store that Rasa does not bring along, through its public methods."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from rasa.shared.core.trackers import DialogueStateTracker

from rasa_coexistence.errors import CoexistenceError
from rasa_coexistence.events import JSON
from rasa_coexistence.tracker_stores.contract import History, HistoryImporter, with_history

log = structlog.get_logger(__name__)
PROBE_SENDER_ID = "rasa-coexistence-probe"


def warning_about(store_name: str) -> str:
    """Return what the owner of such a store should know."""
    return (
        f"{store_name} is not one of Rasa's own tracker stores: history goes in by its save method, which "
        "may publish it to the event broker. See that the store keeps earlier sessions, or old chat is lost."
    )


class OtherImporter(HistoryImporter):
    """Saves trackers that hold history and live events together.

    ``save`` of some stores replaces a conversation, of others it appends what it takes for new, which would
    garble one that has live events. So before the first conversation that has any events, a conversation of
    our own shows which it is; where ``save`` appends, history goes only into conversations without events.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._save_replaces: bool | None = None  # not tried yet
        inner = getattr(store, "_tracker_store", store)
        self.warning = warning_about(type(inner).__name__)

    async def replace_history(self, histories: Sequence[History], prepared: Any = None) -> None:
        """Bring each conversation to its history; log it where the store cannot do that."""
        for history in histories:
            stored = await self.read_events(history.sender_id)
            events = with_history(stored, history)
            if events == stored:
                continue
            if stored and not await self._can_replace():
                log.warning("tracker_store.history_left_out", reason="save appends, and there are events")
                continue
            await self._save(history.sender_id, events)

    async def forget(self, sender_ids: Sequence[str]) -> None:
        """Empty these conversations; raise CoexistenceError if the store does not let go of them."""
        for sender_id in sender_ids:
            if await self.read_events(sender_id):
                await self._save(sender_id, [])
            if await self.read_events(sender_id):
                raise CoexistenceError(
                    "this tracker store cannot replace a conversation: delete it there by its own means"
                )

    async def read_events(self, sender_id: str) -> list[JSON]:
        """Return the events of all sessions that the store still has, oldest first."""
        tracker = await self._store.retrieve_full_tracker(sender_id)
        return [event.as_dict() for event in tracker.events] if tracker else []

    async def _save(self, sender_id: str, events: list[JSON]) -> None:
        slots = self._store.domain.slots
        await self._store.save(DialogueStateTracker.from_dict(sender_id, events, slots))

    async def _can_replace(self) -> bool:
        if self._save_replaces is None:
            older, newer = (
                {"event": "bot", "text": uuid.uuid4().hex, "timestamp": 1.0 + n} for n in range(2)
            )
            await self._save(PROBE_SENDER_ID, [newer])
            await self._save(PROBE_SENDER_ID, [older, newer])
            texts = [event.get("text") for event in await self.read_events(PROBE_SENDER_ID)]
            self._save_replaces = texts == [older["text"], newer["text"]]
        return self._save_replaces
