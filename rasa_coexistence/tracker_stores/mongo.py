"""Put history into Rasa's MongoDB tracker store: one document a conversation, with an array of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rasa_coexistence.events import JSON
from rasa_coexistence.tracker_stores.contract import (
    History,
    HistoryImporter,
    in_thread,
    until_undisturbed,
    with_history,
)

MAX_BYTES = 10 * 1024 * 1024  # of 16 MiB: BSON may be larger than JSON, and the chat goes on


class MongoImporter(HistoryImporter):
    """Replaces the array in one update, only if Rasa pushed nothing meanwhile."""

    default_cap = 5000
    cap_reason = (
        "A MongoDB document holds 16 MiB, and Rasa keeps a whole conversation in one: only the newest 5000 "
        "old messages of each go there, and no more than 10 MiB; the others stay in the ledger. Set "
        "history.max_messages_per_conversation to change the number, or use an SQL tracker store."
    )

    def __init__(self, store: Any) -> None:
        self._store = store

    async def replace_history(self, histories: Sequence[History], prepared: Any = None) -> None:
        """Bring each conversation to its history, one after the other."""
        await in_thread(self._replace_all, histories)

    async def forget(self, sender_ids: Sequence[str]) -> None:
        """Delete these conversations."""
        await in_thread(self._store.conversations.delete_many, {"sender_id": {"$in": list(sender_ids)}})

    async def read_events(self, sender_id: str) -> list[JSON]:
        """Return the events of all sessions, oldest first."""
        document = await in_thread(self._store.conversations.find_one, {"sender_id": sender_id})
        events: list[JSON] = (document or {}).get("events", [])
        return events

    def _replace_all(self, histories: Sequence[History]) -> None:
        for history in histories:
            until_undisturbed(self._try_to_replace, history)

    def _try_to_replace(self, history: History) -> bool:
        conversations, sender = self._store.conversations, {"sender_id": history.sender_id}
        document = conversations.find_one(sender)
        stored = (document or {}).get("events", [])
        events = with_history(stored, history, max_bytes=MAX_BYTES)
        if events == stored:
            return True
        if document is None:
            made = conversations.update_one(sender, {"$setOnInsert": {"events": events}}, upsert=True)
            return made.upserted_id is not None
        # Rasa only ever pushes, so the length tells whether it did.
        unchanged = {"$size": len(stored)} if "events" in document else {"$exists": False}
        guarded = {"_id": document["_id"], "events": unchanged}
        return bool(conversations.update_one(guarded, {"$set": {"events": events}}).matched_count)
