"""Tell Rasa who has a conversation and what the person typed; let the bot go on when the person is gone."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from rasa.shared.core.events import BotUttered, ConversationResumed

from rasa_coexistence import takeover, to_rasa
from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import chats, held_back, queues
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.visits import Glance
from rasa_coexistence.rasa_bridge import OpenTracker, RasaBridge
from rasa_coexistence.records import MessageState, StoredMessage, Takeover
from rasa_coexistence.settings import Settings
from rasa_coexistence.settling import Said, Settling

log = structlog.get_logger(__name__)


class Handover:
    """The part of a visit that is about persons; every method runs under the conversation's lease."""

    def __init__(
        self,
        database: Database,
        bridge: RasaBridge,
        settings: Settings,
        settling: Settling,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._bridge = bridge
        self._rules = takeover.rules_of(settings.takeover)
        self._settling = settling
        self._clock = clock

    async def note_echo(self, lease: queues.Lease, chat: Chat, message: StoredMessage) -> None:
        """Let Rasa see what was sent from the phone; this never makes the bot speak."""
        async with self._bridge.opened(chat.sender_id) as tracker:
            marked: list[int] = []
            if not tracker.has_noted(BotUttered, wamid=message.wamid):
                now = self._clock()
                if tracker.is_empty:  # the phone wrote first: policies want a session to be in
                    for event in to_rasa.opening(now, _source(chat)):
                        tracker.add(event, now=now)
                event = to_rasa.echo_event(
                    message, now=now, phone_number_id=chat.phone_number_id, contact=chat.contact
                )
                tracker.add(event, now=now)
                person = self.person(tracker, chat)
                if person is not None:
                    marked = await self.pause_or_resume(tracker, person, chat)
                await tracker.save()
            said = Said(
                message=message,
                paused=tracker.is_paused,
                handed_off=self.is_handed_off(tracker, chat),
                marked=marked,
            )
            await self._settling.settle(lease, chat, said)

    async def finish(self, lease: queues.Lease, chat: Chat) -> bool:
        """Bring to its end an answer on resume during which a process died; return whether there was one."""
        cause = await self._database.read(held_back.held_resume, chat.id) if chat.tracker_paused else None
        if cause is None:
            return False
        async with self._bridge.opened(chat.sender_id) as tracker:
            if not tracker.has_noted(ConversationResumed, cause=cause):
                await self._database.write(held_back.discard, chat.id, cause, now=self._clock())
                return True
            wamid = held_back.question_of(cause)
            question = await self._database.read(chats.quoted, chat.phone_number_id, chat.id, wamid)
            said = Said(
                message=question,
                state=MessageState.ANSWERED,
                cause=cause,
                paused=tracker.is_paused,
                handed_off=self.is_handed_off(tracker, chat, resumed=True),
                resumed=True,
            )
            await self._settling.settle(lease, chat, said)
        return True

    async def mirror(self, lease: queues.Lease, glance: Glance) -> None:
        """Tell the tracker who has the conversation; when the bot has it again, let it answer what waits."""
        chat = glance.chat
        person = chat.person_has_it(self._clock())
        if person is None:
            if chat.tracker_paused or glance.question is not None or glance.kept:
                await self._resume(lease, chat, glance.question)
        elif not chat.tracker_paused:
            async with self._bridge.opened(chat.sender_id) as tracker:
                marked = await self.pause_or_resume(tracker, person, chat)
                await tracker.save()
                await self._settling.settle(lease, chat, Said(paused=tracker.is_paused, marked=marked))

    async def _resume(self, lease: queues.Lease, chat: Chat, question: StoredMessage | None) -> None:
        cause = None if question is None else held_back.resume_cause(chat.resumes, question.wamid)
        made = None
        if question is not None:
            made = await self._database.read(held_back.made_answer, chat.id, question.wamid)
        async with (
            self._settling.turn(lease, cause or "resume") as (turn, channel),
            self._bridge.opened(chat.sender_id) as tracker,
        ):
            if question is not None and made is None and tracker.last_heard != question.wamid:
                log.warning("takeover.question_out_of_sight", conversation=chat.id)
                question = cause = None  # Rasa would answer something else
            marked: list[int] = []
            if cause is None or not tracker.has_noted(ConversationResumed, cause=cause):
                marked = await self.pause_or_resume(tracker, None, chat, question=question, cause=cause)
                if question is not None and made is None:
                    async with self._settling.presence.shown(chat, question.wamid):
                        await tracker.answer(channel)
                await self._settling.save(tracker, turn)
            said = Said(
                message=question,
                state=MessageState.ANSWERED,
                cause=cause,
                paused=tracker.is_paused,
                handed_off=self.is_handed_off(tracker, chat, resumed=True),
                marked=marked,
                resumed=True,
                let_go=made,
            )
            await self._settling.settle(lease, chat, said)

    def person(self, tracker: OpenTracker, chat: Chat) -> Takeover | None:
        """Return the takeover in force; a pause from outside our turns is a hand-off like any other."""
        now = self._clock()
        person = chat.person_has_it(now)
        if person is None and tracker.bot_paused_itself and not chat.tracker_paused:
            return takeover.after_hand_off(chat.takeover, self._rules, now, cause=None)
        return person

    def is_handed_off(self, tracker: OpenTracker, chat: Chat, *, resumed: bool = False) -> bool:
        """Tell whether the bot paused itself anew; ``resumed``: in this visit it had the conversation."""
        is_new = resumed or not chat.tracker_paused
        return is_new and tracker.bot_paused_itself and chat.person_has_it(self._clock()) is None

    async def pause_or_resume(
        self,
        tracker: OpenTracker,
        person: Takeover | None,
        chat: Chat,
        *,
        question: StoredMessage | None = None,
        cause: str | None = None,
        kept: dict[int, JSON] | None = None,
    ) -> list[int]:
        """Write ``pause`` or ``resume`` where the tracker says otherwise; return the bubbles it tells of."""
        facts: JSON
        if kept is None:
            kept = await self._database.read(held_back.not_marked, chat.id)
        if person is not None and not tracker.is_paused:
            kind, facts = "pause", {"reason": person.reason}
        elif person is None and (tracker.is_paused or question is not None or kept):
            kind, facts = "resume", {"reason": _why_resumed(chat, self._clock())}
            if question is not None:
                facts |= {"wamid": question.wamid, "cause": cause}
        else:
            return []
        if kept:
            facts["held_back"] = list(kept.values())
        tracker.add({"event": kind, "metadata": {"whatsapp": facts}}, now=self._clock())
        return list(kept)


def _why_resumed(chat: Chat, now: float) -> str:
    until = chat.number_takeover.until
    if until is not None and (chat.handed_back_at or 0.0) < until <= now:
        return chats.NUMBER_HOLD
    return chat.takeover.reason or "handed_back"


def _source(chat: Chat) -> JSON:
    return {"whatsapp": {"source": "phone", "phone_number_id": chat.phone_number_id}}
