"""Work through what waits in one conversation: what the customer wrote, what the phone sent, jobs."""

from __future__ import annotations

from collections.abc import Callable

from rasa_coexistence.context import context_slots
from rasa_coexistence.handover import Handover
from rasa_coexistence.history import HistoryImport
from rasa_coexistence.jobs import JobRunner
from rasa_coexistence.ledger import context_rows, held_back, queues, visits
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.visits import Glance
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

    async def visit(self, lease: queues.Lease) -> float | queues.Released | None:
        """Do all that is due in a conversation; return when to look at it again, or that it was let go of.

        Raise Postponed when Rasa or its stores cannot work now, LeaseLost when somebody else took over.
        """
        glance = await self._settling.look(lease.conversation_id)
        if await self._handover.finish(lease, glance.chat):
            glance = await self._settling.look(lease.conversation_id)
        again_at = None
        if glance.has_job:
            again_at = await self._jobs.run_leased(lease)
            glance = await self._settling.look(lease.conversation_id)
        while (message := glance.message) is not None:
            if message.source == "live":
                glance = await self._hear(lease, glance, message)
                if glance.released is not None:
                    return glance.released
            elif await self._database.read(held_back.is_in_doubt, lease.conversation_id):
                return self._clock() + DOUBT_SECONDS
            else:
                await self._handover.note_echo(lease, glance.chat, message)
                glance = await self._settling.look(lease.conversation_id)
        await self._handover.mirror(lease, glance)
        person = glance.chat.person_has_it(self._clock())
        until = None if person is None else person.until
        return min((at for at in (again_at, until) if at is not None), default=None)

    async def _hear(self, lease: queues.Lease, glance: Glance, message: StoredMessage) -> Glance:
        """Take one live message to Rasa: a turn, or a line in the log while a person has the conversation."""
        chat, now, context_of = glance.chat, self._clock(), None
        if glance.has_old_chat:
            await self._history.bring_forward(chat, lease)
        marked: list[int] = []
        speech = await speech_of(self._database, self._bridge, self._settings, chat, message, now=now)
        async with (
            self._settling.turn(lease, message.wamid) as (turn, channel),
            self._bridge.opened(chat.sender_id) as tracker,
        ):
            chat, kept = await self._database.read(visits.again, chat.id)
            person = self._handover.person(tracker, chat)
            answered, heard_before = person is None, tracker.has_heard(message.wamid)
            if heard_before:  # saved before a crash: only our own books are behind
                answered = await self._was_answered(tracker, chat, turn.cause, alone=answered)
            else:
                began = await tracker.begin_session_if_due(now, channel)
                marked = await self._handover.pause_or_resume(tracker, person, chat, kept=kept)
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
            return await self._settling.settle_and_look(lease, chat, said)

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
