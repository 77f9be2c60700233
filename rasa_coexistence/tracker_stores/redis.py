"""Put history into Rasa's Redis tracker store: one string of JSON a conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from redis.exceptions import WatchError

from rasa_coexistence.events import JSON
from rasa_coexistence.tracker_stores.contract import (
    History,
    HistoryImporter,
    in_thread,
    until_undisturbed,
    with_history,
)


class RedisImporter(HistoryImporter):
    """Replaces the string only if nobody touched it meanwhile, and leaves its time to live."""

    default_cap = 100
    cap_reason = (
        "Rasa reads, compares and writes a whole conversation of its Redis tracker store in every turn, so "
        "only the newest 100 old messages of each go there (a turn takes about 20 ms with them); the others "
        "stay in the ledger. Set history.max_messages_per_conversation to change it, or use an SQL tracker "
        "store."
    )

    def __init__(self, store: Any) -> None:
        self._store = store

    async def replace_history(self, histories: Sequence[History], prepared: Any = None) -> None:
        """Bring each conversation to its history, one after the other."""
        await in_thread(self._replace_all, histories)

    async def forget(self, sender_ids: Sequence[str]) -> None:
        """Delete these conversations."""
        if sender_ids:
            await in_thread(self._store.red.delete, *map(self._key, sender_ids))

    async def read_events(self, sender_id: str) -> list[JSON]:
        """Return the events of all sessions, oldest first."""
        stored = await in_thread(self._store.red.get, self._key(sender_id))
        events: list[JSON] = json.loads(stored)["events"] if stored else []
        return events

    def _key(self, sender_id: str) -> str:
        return f"{self._store.key_prefix}{sender_id}"

    def _replace_all(self, histories: Sequence[History]) -> None:
        for history in histories:
            until_undisturbed(self._try_to_replace, history)

    def _try_to_replace(self, history: History) -> bool:
        key = self._key(history.sender_id)
        with self._store.red.pipeline() as pipeline:
            pipeline.watch(key)
            stored = pipeline.get(key)
            fresh: JSON = {"events": [], "name": history.sender_id}
            dialogue: JSON = json.loads(stored) if stored else fresh
            events = with_history(dialogue["events"], history)
            if events == dialogue["events"]:
                return True
            lifetime = self._lifetime(pipeline.pttl(key), exists=stored is not None)
            pipeline.multi()
            pipeline.set(key, json.dumps({**dialogue, "events": events}), px=lifetime)
            try:
                pipeline.execute()
            except WatchError:
                return False
        return True

    def _lifetime(self, milliseconds: int, *, exists: bool) -> int | None:
        if exists:
            return milliseconds if milliseconds > 0 else None
        return int(self._store.record_exp * 1000) if self._store.record_exp else None
