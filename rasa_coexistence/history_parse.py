"""Let NLU read what customers wrote before the bot was there, when nobody else needs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from rasa_coexistence.errors import Postponed
from rasa_coexistence.events import JSON
from rasa_coexistence.faults import fault
from rasa_coexistence.ledger import history_rows, parse_rows
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import NEVER_SAID

log = structlog.get_logger(__name__)

CLAIM_SECONDS = 60.0
AT_ONCE = 5  # messages
SHARE = 0.25  # of the time, when there is nothing else to do: NLU blocks the event loop
NOTHING: JSON = {"intent": {"name": None, "confidence": 0.0}, "entities": []}


def is_unread(message: StoredMessage) -> bool:
    """Tell whether a message is an old one that a customer typed and NLU has not read as it is now."""
    typed = message.content is None or message.content.typed
    said = message.type not in NEVER_SAID and not message.revoked and bool(message.text)
    return (
        message.source == history_rows.HISTORY
        and not message.from_business
        and said
        and typed
        and message.parse is None
    )


class HistoryParse:
    """Reads conversations one after the other, the newest message of each first."""

    def __init__(
        self,
        database: Database,
        bridge: RasaBridge,
        *,
        typed_intents: bool,
        is_busy: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._bridge = bridge
        self._typed_intents = typed_intents
        self._is_busy = is_busy
        self._clock = clock
        self._conversation_id: int | None = None
        self._unread: list[StoredMessage] = []  # of that conversation, the next one last

    async def step(self) -> bool:
        """Let NLU read a few messages; return whether to go on at once. Raise Postponed without a model."""
        if self._is_busy():
            return False
        if self._conversation_id is None:
            self._conversation_id = await self._next_conversation()
        conversation_id = self._conversation_id
        if conversation_id is None:
            return False
        few = self._unread[: -AT_ONCE - 1 : -1]
        read = [(message, await self._parse(message)) for message in few]
        await self._database.write(parse_rows.write, read, urgency=Urgency.BULK)
        del self._unread[-AT_ONCE:]
        if self._unread:
            until = self._clock() + CLAIM_SECONDS
            await self._database.write(parse_rows.keep, conversation_id, until=until, urgency=Urgency.BULK)
        else:
            self._conversation_id = None
            await self._database.write(
                parse_rows.is_read, conversation_id, now=self._clock(), urgency=Urgency.BULK
            )
        return True

    async def _next_conversation(self) -> int | None:
        now = self._clock()
        if not await self._database.read(parse_rows.is_due, now=now):
            return None
        claimed: int | None = await self._database.write(parse_rows.claim, now=now, until=now + CLAIM_SECONDS)
        if claimed is not None:
            found = await self._database.read(history_rows.by_conversation, [claimed])
            unread = [message for message in found.get(claimed, []) if is_unread(message)]
            self._unread = sorted(unread, key=lambda message: message.sent_at or 0.0)
        return claimed

    async def _parse(self, message: StoredMessage) -> JSON:
        """Return intent and entities of a message; old button ids count as typed, we never sent those."""
        began = time.perf_counter()
        try:
            parsed = await self._bridge.parse(message.text or "", guarded=not self._typed_intents)
        except Postponed:
            raise
        except Exception as error:  # any component of the user's pipeline
            log.warning("history.not_parsed", message=message.id, **fault(error))
            parsed = NOTHING
        await asyncio.sleep((time.perf_counter() - began) * (1 / SHARE - 1))
        return {name: parsed.get(name) or NOTHING[name] for name in NOTHING}
