"""Say at start what Rasa's tracker store does to old chat, and tune it where that is asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from rasa_coexistence.errors import Postponed
from rasa_coexistence.faults import fault
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.settings import Settings
from rasa_coexistence.tracker_stores import HistoryImporter, tuning

log = structlog.get_logger(__name__)


class StoreCheck:
    """Looks at each tracker store once: Rasa may bring another when it loads its agent anew."""

    def __init__(self, bridge: RasaBridge, settings: Settings) -> None:
        self._bridge = bridge
        self._history = settings.history
        self._seen: Any = None

    async def step(self) -> bool:
        """Look at the tracker store as soon as there is one; return whether it was a new one."""
        try:
            store, importer = self._bridge.tracker_store, self._bridge.importer()
        except Postponed:
            return False  # Rasa is still loading its model
        if store is self._seen:
            return False
        self._seen = store
        if self._history.enabled:
            self._say(importer)
        if self._history.tune_tracker_store:
            await self._tune(store)
        return True

    def _say(self, importer: HistoryImporter) -> None:
        own_cap = self._history.max_messages_per_conversation
        if importer.default_cap is not None and own_cap is None:
            log.warning("tracker_store.cap", max_messages=importer.default_cap, reason=importer.cap_reason)
        elif own_cap is not None:
            log.info("tracker_store.cap", max_messages=own_cap, reason="max_messages_per_conversation")
        if importer.warning is not None:
            log.warning("tracker_store.warning", reason=importer.warning)

    async def _tune(self, store: Any) -> None:
        sql_store = tuning.sql_store_of(store)
        if sql_store is None:
            log.info("tracker_store.not_tuned", reason="only Rasa's SQL tracker store gains by it")
            return
        try:
            tuned = await asyncio.to_thread(tuning.tune, sql_store)
        except Exception as error:  # each database has exceptions of its own
            remedy = "let Rasa's database user add an index to events, or set tune_tracker_store: false"
            log.warning("tracker_store.not_tuned", remedy=remedy, **fault(error))
        else:
            log.info("tracker_store.tuned", index=tuning.INDEX, complete=tuned)
