"""Work through what waits in one conversation: what the customer wrote, what the phone sent, jobs."""

from __future__ import annotations

from collections.abc import Callable

from rasa_coexistence.context import context_slots
from rasa_coexistence.handover import Handover
from rasa_coexistence.history import HistoryImport
from rasa_coexistence.jobs import JobRunner
from rasa_coexistence.ledger import chats, context_rows, held_back, queues, takeovers
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.presence import Presence
from rasa_coexistence.rasa_bridge import OpenTracker, RasaBridge
from rasa_coexistence.records import MessageState, StoredMessage
from rasa_coexistence.settings import Settings
from rasa_coexistence.settling import Said, Settling
from rasa_coexistence.speech import Speech, speech_of

DOUBT_SECONDS = 0.5  # how soon to look again whether a message from the phone is one of ours


class Talk:
    """Visits conversations that are due, each under its lease."""

    def __init__(
        self,
        database: Database,
        bridge: RasaBridge,
        history: HistoryImport,
        settings: Settings,
        jobs: JobRunner,
        *,
        presence: Presence,
        clock: Callable[[], float],
        on_release: Callable[[], None],
    ) -> None:
        self._database = database
        self._bridge = bridge
        self._history = history
        self._settings = settings
        self._jobs = jobs
        self._clock = clock
        self._settling = Settling(database, settings, presence, clock=clock, on_release=on_release)
        self._handover = Handover(database, bridge, settings, self._settling, clock=clock)

    @property
    def is_ready(self) -> bool:
        """Whether Rasa can take a message now."""
        return self._bridge.is_ready

    async def visit(self, lease: queues.Lease) -> float | None:
        """Do all that is due in a conversation; return when to look at it again.

        Raise Postponed when Rasa or its stores cannot work now, LeaseLost when somebody else took over.
        """
        chat = await self._current(lease)
        await self._handover.finish(lease, chat)
        again_at = await self._jobs.run_leased(lease)
        while (message := await self._database.read(chats.next_waiting, chat.id)) is not None:
            chat = await self._current(lease)
            if message.source == "live":
                await self._history.bring_forward(chat)
                await self._hear(lease, chat, message)
            elif await self._database.read(held_back.is_in_doubt, chat.id):
                return self._clock() + DOUBT_SECONDS
            else:
                await self._handover.note_echo(lease, chat, message)
        chat = await self._current(lease)
        await self._handover.mirror(lease, chat)
        person = chat.person_has_it(self._clock())
        until = None if person is None else person.until
        return min((at for at in (again_at, until) if at is not None), default=None)

    async def _current(self, lease: queues.Lease) -> Chat:
        return await self._database.write(takeovers.current, lease.conversation_id, now=self._clock())

    async def _hear(self, lease: queues.Lease, chat: Chat, message: StoredMessage) -> None:
        """Take one live message to Rasa: a turn, or a line in the log while a person has the conversation."""
        now, context_of = self._clock(), None
        marked: list[int] = []
        speech = await speech_of(self._database, self._bridge, self._settings, chat, message, now=now)
        async with (
            self._settling.turn(lease, message.wamid) as (turn, channel),
            self._bridge.opened(chat.sender_id) as tracker,
        ):
            chat = await self._database.read(chats.load, chat.id)  # a person may have come meanwhile
            person = self._handover.person(tracker, chat)
            answered, heard_before = person is None, tracker.has_heard(message.wamid)
            if heard_before:  # saved before a crash: only our own books are behind
                answered = await self._was_answered(tracker, chat, turn.cause, alone=answered)
            else:
                began = await tracker.begin_session_if_due(now, channel)
                marked = await self._handover.pause_or_resume(tracker, person, chat)
                context_of = await self._fill_slots(tracker, chat, message, began=began)
                if person is None:
                    async with self._settling.presence.shown(chat, message.wamid):
                        await self._hear_speech(tracker, speech)
                        await tracker.answer(channel)
                else:
                    await self._hear_speech(tracker, speech)
                    await self._database.write(held_back.discard, chat.id, turn.cause, now=now)
                await self._settling.save(tracker, turn)
            said = Said(
                message=message,
                state=MessageState.ANSWERED if answered else MessageState.LOGGED,
                cause=turn.cause,
                paused=tracker.is_paused,
                handed_off=self._handover.is_handed_off(tracker, chat, resumed=not heard_before),
                context_of=context_of,
                marked=marked,
            )
            await self._settling.settle(lease, chat, said)

    async def _was_answered(self, tracker: OpenTracker, chat: Chat, cause: str, *, alone: bool) -> bool:
        """Tell whether the turn that heard a message answered it; ``alone``: no person is there."""
        if await self._database.read(held_back.has_bubbles, chat.id, cause):
            return True
        return alone and (tracker.bot_paused_itself or not tracker.is_paused)

    async def _fill_slots(
        self, tracker: OpenTracker, chat: Chat, message: StoredMessage, *, began: bool
    ) -> int | None:
        """Set the context slots at a session's start and when history came; return what they are made of."""
        if not began and chat.context_of == chat.history_imported:
            return None
        limit = self._settings.history.context_messages
        times = [time for time in (tracker.session_said_at, message.sent_at) if time is not None]
        before = await self._database.read(
            context_rows.said_before,
            chat.id,
            min(times, default=None),
            limit=max(limit, 1),
            but=message.id,
        )
        began_at = min(times, default=self._clock())
        slots = context_slots(before, chat, began_at=began_at, limit=limit)
        tracker.set_slots(slots, now=self._clock())
        return chat.history_imported

    async def _hear_speech(self, tracker: OpenTracker, speech: Speech) -> None:
        await tracker.hear(
            speech.text,
            typed=speech.typed,
            wamid=speech.wamid,
            metadata=speech.metadata,
            parse_data=speech.parse_data,
        )
