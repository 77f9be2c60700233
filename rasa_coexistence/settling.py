"""Open a turn, save it, and bring the ledger's books up to what the tracker then says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from msgspec import Struct

from rasa_coexistence import takeover
from rasa_coexistence.ledger import bubbles, chats, held_back, queues, takeovers, visits
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.visits import Glance
from rasa_coexistence.presence import Presence
from rasa_coexistence.rasa_bridge import OpenTracker
from rasa_coexistence.records import MessageState, StoredMessage
from rasa_coexistence.settings import Settings
from rasa_coexistence.turn import FreeSpeech, Turn, WhatsAppOutput


class Said(Struct, frozen=True, kw_only=True):
    """What one visit to the tracker came to."""

    paused: bool  # what the tracker says now
    message: StoredMessage | None = None
    state: MessageState = MessageState.LOGGED  # of the message
    cause: str | None = None  # of the bubbles that may leave now
    handed_off: bool = False  # the bot paused itself
    context_of: int | None = None  # the history that the slots were made of
    marked: list[int] = []  # held-back bubbles that the tracker knows of now
    resumed: bool = False  # the bot goes on
    let_go: str | None = None  # cause of a held-back answer that may leave after all


class Settling:
    """What every visit does with a turn and with the books."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        presence: Presence,
        *,
        clock: Callable[[], float],
        on_release: Callable[[], None],
    ) -> None:
        self.presence = presence
        self._database = database
        self._replies = settings.replies
        self._rules = takeover.rules_of(settings.takeover)
        self._answers_on_resume = settings.takeover.answer_on_resume
        self._clock = clock
        self._on_release = on_release
        self._free = FreeSpeech(database, clock, on_release)

    @contextlib.asynccontextmanager
    async def turn(self, lease: queues.Lease, cause: str) -> AsyncIterator[tuple[Turn, WhatsAppOutput]]:
        """Give a turn and the channel that collects what the bot says in it."""
        turn = Turn(
            self._database,
            lease,
            cause,
            release_after_seconds=self._replies.release_after_seconds,
            clock=self._clock,
            on_release=self._on_release,
        )
        channel = WhatsAppOutput(self._free.say)
        channel.turn = turn
        try:
            yield turn, channel
        finally:
            channel.turn = None
            await turn.close()

    async def save(self, tracker: OpenTracker, turn: Turn) -> None:
        """Store the tracker, with marks on what a takeover keeps back."""
        kept = await turn.hold()
        for reason in set(kept.values()):
            tracker.mark_held_back([at for at, why in kept.items() if why == reason], reason)
        await tracker.save()

    async def settle(self, lease: queues.Lease, chat: Chat, said: Said) -> None:
        """Write down in one transaction what a visit came to; raise LeaseLost when the lease ran out."""
        await self._database.write(self._write_down, lease, chat, said)
        self._tell(said)

    async def settle_and_look(self, lease: queues.Lease, chat: Chat, said: Said) -> Glance:
        """Do the same, and return what there is still to do."""
        glance = await self._database.write(self._write_down_and_look, lease, chat, said)
        self._tell(said)
        return glance

    async def look(self, conversation_id: int) -> Glance:
        """Return what there is to do in a conversation."""
        return await self._database.write(
            visits.look, conversation_id, now=self._clock(), answers_on_resume=self._answers_on_resume
        )

    def _tell(self, said: Said) -> None:
        if said.cause is not None or said.let_go is not None:
            self._on_release()

    def _write_down_and_look(self, connection: Any, lease: queues.Lease, chat: Chat, said: Said) -> Glance:
        self._write_down(connection, lease, chat, said)
        now, answers = self._clock(), self._answers_on_resume
        return visits.look_or_leave(connection, lease, now=now, answers_on_resume=answers)

    def _write_down(self, connection: Any, lease: queues.Lease, chat: Chat, said: Said) -> None:
        now = self._clock()
        queues.check(connection, lease, now=now)
        if said.message is not None:
            chats.settle(connection, said.message.id, self._state(connection, chat, said))
        if said.cause is not None:
            bubbles.release(connection, chat.id, said.cause, now=now)
        if said.let_go is not None:
            held_back.let_go(connection, chat.id, said.let_go, now=now)
        held_back.mark(connection, said.marked)
        chats.mirrored(
            connection, chat.id, paused=said.paused, context_of=said.context_of, resumed=said.resumed
        )
        if said.handed_off:
            self._hand_off(connection, chat, said.cause, now)

    @staticmethod
    def _state(connection: Any, chat: Chat, said: Said) -> MessageState:
        """Return the state of a message: an answer that was kept back whole leaves it open."""
        kept_back = said.cause is not None and held_back.is_all_held_back(connection, chat.id, said.cause)
        return MessageState.LOGGED if kept_back else said.state

    def _hand_off(self, connection: Any, chat: Chat, cause: str | None, now: float) -> None:
        fresh = chats.lock(connection, chat.id)
        if fresh.person_has_it(now) is None:
            takeovers.hand_off(connection, fresh, self._rules, cause=cause, now=now)
