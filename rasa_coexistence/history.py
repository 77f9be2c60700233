"""Bring old chat from the ledger into Rasa's tracker store, and say how far that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from rasa_coexistence.errors import Postponed
from rasa_coexistence.events import JSON
from rasa_coexistence.faults import fault
from rasa_coexistence.ledger import chats, dialects, people, queues
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.reading import Reader
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.settings import Settings
from rasa_coexistence.to_rasa import history_events
from rasa_coexistence.tracker_stores import History

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = (
    4000  # messages of one transaction in the tracker store, unless one conversation alone has more
)


class HistoryImport:
    """Projects conversations into the tracker store, whole, as often as their history changes."""

    def __init__(
        self,
        database: Database,
        bridge: RasaBridge,
        reader: Reader,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._bridge = bridge
        self._reader = reader
        self._settings = settings
        self._clock = clock

    async def bring_forward(self, chat: Chat) -> None:
        """Import all that was accepted of one customer's history, under the conversation's lease."""
        aliases = await self._database.read(people.aliases_of, chat.id)
        await self._reader.bring_forward(aliases)
        fresh = await self._database.read(chats.load, chat.id)
        if fresh.import_due_at is not None and self._settings.history.enabled:
            await self._project([fresh])
            await self._database.write(chats.imported, chat.id, fresh.import_due_at)

    async def import_leased(self, leases: Sequence[queues.Lease]) -> None:
        """Import conversations and let go of them; raise Postponed when it cannot be done now."""
        waiting = list(leases)
        while waiting:
            batch = [waiting.pop(0)]
            loaded = [await self._database.read(chats.load, batch[0].conversation_id)]
            size = loaded[0].history_received
            while waiting:
                chat = await self._database.read(chats.load, waiting[0].conversation_id)
                size += chat.history_received
                if size > ROWS_AT_ONCE:
                    break
                batch.append(waiting.pop(0))
                loaded.append(chat)
            await self._project(loaded)
            await self._database.write(self._let_go, batch, urgency=Urgency.BULK)

    async def _project(self, found: Sequence[Chat]) -> None:
        """Write the whole history of some conversations into the tracker store."""
        messages = await self._database.read(chats.histories, [chat.id for chat in found])
        expiration = self._bridge.session_expiration_seconds
        importer = self._bridge.importer()
        cap = self._settings.history.max_messages_per_conversation or importer.default_cap
        histories = [
            History(
                sender_id=chat.sender_id,
                make_events=partial(_events, messages.get(chat.id, []), chat, expiration, cap),
            )
            for chat in found  # one that was united with another has none any more
        ]
        async with self._bridge.locked([history.sender_id for history in histories]):
            try:
                await importer.replace_history(histories)
            except Postponed:
                raise
            except Exception as error:  # each store has exceptions of its own
                log.warning("history.tracker_store_failed", **fault(error))
                raise Postponed("the tracker store did not take the history") from error
        counts = {chat.id: len(messages.get(chat.id, [])) for chat in found}
        await self._database.write(chats.count_imported, counts, urgency=Urgency.BULK)

    @staticmethod
    def _let_go(connection: Any, leases: Sequence[queues.Lease]) -> None:
        dialects.serialize(connection, dialects.MANY)
        for lease in leases:
            queues.release(connection, lease, due_at=None)


def _events(
    messages: Sequence[StoredMessage],
    chat: Chat,
    expiration: float,
    cap: int | None,
    first_live_at: float | None,
) -> list[JSON]:
    return history_events(
        messages,
        contact=chat.contact,
        phone_number_id=chat.phone_number_id,
        session_expiration_seconds=expiration,
        first_live_at=first_live_at,
        max_messages=cap,
    )
