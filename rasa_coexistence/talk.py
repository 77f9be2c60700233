"""Work through what waits in one conversation: turns, echoes, pauses, answers after a pause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from rasa.shared.core.events import BotUttered, ConversationResumed

from rasa_coexistence import sending, takeover, to_rasa
from rasa_coexistence.context import context_slots
from rasa_coexistence.events import JSON
from rasa_coexistence.history import HistoryImport
from rasa_coexistence.ledger import bubbles, chats, queues
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.rasa_bridge import OpenTracker, RasaBridge
from rasa_coexistence.records import MessageState, StoredMessage, Takeover
from rasa_coexistence.settings import Settings
from rasa_coexistence.speech import Speech, speech_of
from rasa_coexistence.turn import FreeSpeech, Turn, WhatsAppOutput


class Said(Struct, frozen=True, kw_only=True):
    """What one visit to the tracker came to."""

    message: StoredMessage | None
    state: MessageState | None
    cause: str | None  # of the bubbles that may leave now
    paused: bool  # what the tracker says now
    handed_off: bool  # the bot paused itself
    context_of: int | None  # the history that the slots were made of


class Talk:
    """Visits conversations that are due, each under its lease."""

    def __init__(
        self,
        database: Database,
        bridge: RasaBridge,
        history: HistoryImport,
        settings: Settings,
        rules: takeover.Rules,
        *,
        clock: Callable[[], float],
        on_release: Callable[[], None],
    ) -> None:
        self._database = database
        self._bridge = bridge
        self._history = history
        self._settings = settings
        self._rules = rules
        self._clock = clock
        self._on_release = on_release
        self._free = FreeSpeech(database, clock, on_release)

    async def visit(self, lease: queues.Lease) -> float | None:
        """Do all that is due in a conversation; return when to look at it again.

        Raise Postponed when Rasa or its stores cannot work now, LeaseLost when somebody else took over.
        """
        while True:
            chat = await self._database.write(self._current, lease.conversation_id)
            message = await self._database.read(chats.next_waiting, chat.id)
            if message is None:
                break
            if message.source == "live":
                await self._history.bring_forward(chat)
                await self._hear(lease, chat, message)
            else:
                await self._note_echo(lease, chat, message)
        await self._mirror(lease, chat)
        person = chat.person_has_it(self._clock())
        return None if person is None else person.until

    def _current(self, connection: Any, conversation_id: int) -> Chat:
        """Return a conversation; a takeover that ran out ends here, unless it was extended meanwhile."""
        chat = chats.lock(connection, conversation_id)
        now = self._clock()
        if takeover.has_ended(chat.takeover, now):
            chats.set_takeover(connection, chat, takeover.BOT, now=now)
            chat = chats.load(connection, conversation_id)
        return chat

    async def _hear(self, lease: queues.Lease, chat: Chat, message: StoredMessage) -> None:
        """Take one live message to Rasa: a turn, or a line in the log while a person has the conversation."""
        now = self._clock()
        person = chat.person_has_it(now)
        speech = await speech_of(self._database, self._bridge, self._settings, chat, message, now=now)
        turn, channel = self._turn(lease, message.wamid)
        try:
            async with self._bridge.opened(chat.sender_id) as tracker:
                if person is None and tracker.bot_paused_itself and not chat.tracker_paused:
                    # Outside a turn of ours, by a reminder or Rasa's API: a hand-off like any other.
                    person = takeover.after_hand_off(chat.takeover, self._rules, now, cause=None)
                if not tracker.has_heard(message.wamid):
                    began = await tracker.begin_session_if_due(now, channel)
                    self._pause_or_resume(tracker, person, chat, None)
                    context_of = await self._fill_slots(tracker, chat, message, began=began)
                    await self._hear_speech(tracker, speech)
                    if person is None:
                        await tracker.answer(channel)
                    await self._save(tracker, turn)
                else:
                    context_of = None  # saved before a crash: only our own books are behind
                await self._settle(
                    lease, chat, self._said(tracker, chat, person, message, turn.cause, context_of)
                )
        finally:
            channel.turn = None
            await turn.close()

    async def _note_echo(self, lease: queues.Lease, chat: Chat, message: StoredMessage) -> None:
        """Let Rasa see what a person typed on the phone."""
        async with self._bridge.opened(chat.sender_id) as tracker:
            now = self._clock()
            if not tracker.has_noted(BotUttered, message.wamid):
                event = to_rasa.echo_event(
                    message, now=now, phone_number_id=chat.phone_number_id, contact=chat.contact
                )
                tracker.add(event, now=now)
                self._pause_or_resume(tracker, chat.person_has_it(now), chat, None)
                await tracker.save()
            said = Said(
                message=message,
                state=MessageState.LOGGED,
                cause=None,
                paused=tracker.is_paused,
                handed_off=False,
                context_of=None,
            )
            await self._settle(lease, chat, said)

    async def _mirror(self, lease: queues.Lease, chat: Chat) -> None:
        """Tell the tracker who has the conversation; when the bot has it again, let it answer what waits."""
        now = self._clock()
        person = chat.person_has_it(now)
        if (person is not None) == chat.tracker_paused:
            return
        question = None if person is not None else await self._question(chat, now)
        cause = None if question is None else f"resume:{question.wamid}"
        turn, channel = self._turn(lease, cause or "resume")
        try:
            async with self._bridge.opened(chat.sender_id) as tracker:
                done = question is not None and tracker.has_noted(ConversationResumed, question.wamid)
                if not done:
                    self._pause_or_resume(tracker, person, chat, question)
                    if question is not None:
                        await tracker.answer(channel)
                    await self._save(tracker, turn)
                await self._settle(lease, chat, self._said(tracker, chat, person, question, cause, None))
        finally:
            channel.turn = None
            await turn.close()

    async def _question(self, chat: Chat, now: float) -> StoredMessage | None:
        """Return the message that the bot owes an answer, now that the person is gone."""
        if not self._settings.takeover.answer_on_resume:
            return None
        if not sending.window_is_open(chat.last_customer_at, now):
            return None
        return await self._database.read(chats.unanswered, chat.id)

    def _turn(self, lease: queues.Lease, cause: str) -> tuple[Turn, WhatsAppOutput]:
        turn = Turn(
            self._database,
            lease,
            cause,
            release_after_seconds=self._settings.replies.release_after_seconds,
            clock=self._clock,
            on_release=self._on_release,
        )
        channel = WhatsAppOutput(self._free.say)
        channel.turn = turn
        return turn, channel

    def _pause_or_resume(
        self, tracker: OpenTracker, person: Takeover | None, chat: Chat, question: StoredMessage | None
    ) -> None:
        now = self._clock()
        if person is not None and not tracker.is_paused:
            tracker.add(_mark("pause", {"reason": person.reason}), now=now)
        elif person is None and (tracker.is_paused or question is not None):
            answers = {"wamid": question.wamid} if question is not None else {}
            reason = chat.takeover.reason or "handed_back"
            tracker.add(_mark("resume", {"reason": reason, **answers}), now=now)

    async def _fill_slots(
        self, tracker: OpenTracker, chat: Chat, message: StoredMessage, *, began: bool
    ) -> int | None:
        """Set the context slots at a session's start and when history came; return what they are made of."""
        if not began and chat.context_of == chat.history_imported:
            return None
        limit = self._settings.history.context_messages
        before = await self._database.read(chats.recent, chat.id, limit + 1)
        tracker.set_slots(context_slots(before, chat, message, limit=limit, now=self._clock()))
        return chat.history_imported

    async def _hear_speech(self, tracker: OpenTracker, speech: Speech) -> None:
        await tracker.hear(
            speech.text,
            typed=speech.typed,
            wamid=speech.wamid,
            metadata=speech.metadata,
            parse_data=speech.parse_data,
        )

    async def _save(self, tracker: OpenTracker, turn: Turn) -> None:
        held_back = await turn.hold()
        for reason in set(held_back.values()):
            tracker.mark_held_back([at for at, why in held_back.items() if why == reason], reason)
        await tracker.save()

    def _said(
        self,
        tracker: OpenTracker,
        chat: Chat,
        person: Takeover | None,
        message: StoredMessage | None,
        cause: str | None,
        context_of: int | None,
    ) -> Said:
        silent = person is not None or (tracker.is_paused and not tracker.bot_paused_itself)
        return Said(
            message=message,
            state=MessageState.LOGGED if silent else MessageState.ANSWERED,
            cause=cause,
            paused=tracker.is_paused,
            handed_off=chat.person_has_it(self._clock()) is None and tracker.bot_paused_itself,
            context_of=context_of,
        )

    async def _settle(self, lease: queues.Lease, chat: Chat, said: Said) -> None:
        await self._database.write(self._write_down, lease, chat, said)
        if said.cause is not None:
            self._on_release()

    def _write_down(self, connection: Any, lease: queues.Lease, chat: Chat, said: Said) -> None:
        now = self._clock()
        queues.check(connection, lease, now=now)
        if said.message is not None and said.state is not None:
            chats.settle(connection, said.message.id, said.state)
        if said.cause is not None:
            bubbles.release(connection, chat.id, said.cause, now=now)
        chats.mirrored(connection, chat.id, paused=said.paused, context_of=said.context_of)
        if said.handed_off:
            current = chats.lock(connection, chat.id).takeover
            after = takeover.after_hand_off(current, self._rules, now, cause=said.cause)
            if after is not None:
                chats.set_takeover(connection, chat, after, now=now)


def _mark(kind: str, whatsapp: JSON) -> JSON:
    return {"event": kind, "metadata": {"whatsapp": whatsapp}}
