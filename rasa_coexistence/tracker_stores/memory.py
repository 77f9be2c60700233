"""Put history into Rasa's in-memory tracker store: a dict of JSON strings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rasa_coexistence.events import JSON
from rasa_coexistence.tracker_stores.contract import History, HistoryImporter, with_history


class MemoryImporter(HistoryImporter):
    """Works on the event loop, as Rasa does: the dict is its own."""

    warning = (
        "Rasa keeps trackers in memory: when a customer's new session begins it forgets the sessions before, "
        "old chat included, and a restart forgets everything. Name a tracker store in endpoints.yml, best of "
        "type SQL."
    )

    def __init__(self, store: Any) -> None:
        self._store = store

    async def replace_history(self, histories: Sequence[History], prepared: Any = None) -> None:
        """Bring each conversation to its history."""
        for history in histories:
            stored = await self.read_events(history.sender_id)
            events = with_history(stored, history)
            if events != stored:
                self._store.store[history.sender_id] = json.dumps(
                    {"events": events, "name": history.sender_id}
                )

    async def forget(self, sender_ids: Sequence[str]) -> None:
        """Delete these conversations."""
        for sender_id in sender_ids:
            self._store.store.pop(sender_id, None)

    async def read_events(self, sender_id: str) -> list[JSON]:
        """Return the events of all sessions that Rasa still has, oldest first."""
        stored = self._store.store.get(sender_id)
        events: list[JSON] = json.loads(stored)["events"] if stored else []
        return events
