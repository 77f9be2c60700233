"""Collect what a bot says in one turn, and let it leave when the turn is saved."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from rasa.core.channels.channel import OutputChannel

from rasa_coexistence.errors import LedgerError
from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import bubbles, chats, held_back, queues
from rasa_coexistence.ledger.bubbles import Draft
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.records import BubbleState
from rasa_coexistence.to_rasa import INPUT_CHANNEL
from rasa_coexistence.to_whatsapp import bodies
from rasa_coexistence.to_whatsapp import bubbles as outgoing

log = structlog.get_logger(__name__)

SAME_CAUSE_SECONDS = 60.0  # a task that goes on talking after so long says something new

Say = Callable[[str, JSON], Awaitable[None]]  # (Rasa's conversation id, response)


class WhatsAppOutput(OutputChannel):
    """Rasa's way to say something; every kind of response goes through ``send_response``.

    A reminder keeps the output channel of the turn that scheduled it: once the turn is over, what comes is
    sent by itself.
    """

    def __init__(self, freely: Say) -> None:
        self._freely = freely
        self.turn: Turn | None = None

    @classmethod
    def name(cls) -> str:
        """Return the name that Rasa knows the channel by."""
        return INPUT_CHANNEL

    async def send_response(self, recipient_id: str, message: dict[str, Any]) -> None:
        """Say all that a response of the domain, or of a custom action, says."""
        if self.turn is not None:
            await self.turn.say(message)
        else:
            await self._freely(recipient_id, message)

    async def send_text_message(self, recipient_id: str, text: str, **kwargs: Any) -> None:
        """Say a text."""
        await self.send_response(recipient_id, {"text": text})

    async def send_image_url(self, recipient_id: str, image: str, **kwargs: Any) -> None:
        """Send an image."""
        await self.send_response(recipient_id, {"image": image})

    async def send_attachment(self, recipient_id: str, attachment: Any, **kwargs: Any) -> None:
        """Send a file."""
        await self.send_response(recipient_id, {"attachment": attachment})

    async def send_text_with_buttons(
        self, recipient_id: str, text: str, buttons: list[dict[str, Any]], **kwargs: Any
    ) -> None:
        """Say a text with buttons."""
        await self.send_response(recipient_id, {"text": text, "buttons": buttons})

    async def send_quick_replies(
        self, recipient_id: str, text: str, quick_replies: list[dict[str, Any]], **kwargs: Any
    ) -> None:
        """Say a text with quick replies."""
        await self.send_response(recipient_id, {"text": text, "quick_replies": quick_replies})

    async def send_elements(self, recipient_id: str, elements: Any, **kwargs: Any) -> None:
        """Send cards."""
        await self.send_response(recipient_id, {"elements": elements})

    async def send_custom_json(self, recipient_id: str, json_message: dict[str, Any], **kwargs: Any) -> None:
        """Send a body of the Cloud API as it is."""
        await self.send_response(recipient_id, {"custom": json_message})


class Turn:
    """One turn of Rasa and the bubbles that it makes.

    They wait in memory, become rows just before the tracker is saved, and leave after it: a crash before
    loses only what nobody has seen, and the turn runs again. In a slow turn they leave sooner.
    """

    def __init__(
        self,
        database: Database,
        lease: queues.Lease,
        cause: str,
        *,
        release_after_seconds: float | None,
        clock: Callable[[], float],
        on_release: Callable[[], None],
    ) -> None:
        self.cause = cause
        self._database = database
        self._lease = lease
        self._release_after_seconds = release_after_seconds
        self._clock = clock
        self._on_release = on_release
        self._drafts: list[Draft] = []
        self._said_at: dict[int, float] = {}  # ordinal -> timestamp of the event that said it
        self._released = 0
        self._releasing: asyncio.Task[None] | None = None
        self._is_over = asyncio.Event()

    async def say(self, response: Mapping[str, Any]) -> None:
        """Take one response of the bot."""
        for bubble in bodies(response):
            ordinal = len(self._drafts)
            if isinstance(response.get("timestamp"), float):
                self._said_at[ordinal] = response["timestamp"]
            self._drafts.append(as_draft(ordinal, bubble))
        if self._release_after_seconds == 0:
            await self._release_early()
        elif self._drafts and self._release_after_seconds is not None and self._releasing is None:
            self._releasing = asyncio.create_task(self._release_when_slow(self._release_after_seconds))

    async def hold(self) -> dict[float, str]:
        """Write the bubbles down; return the times of those that a takeover keeps back, and why."""
        await self._stop_releasing()
        held_back = await self._database.write(self._write_rest)
        return {self._said_at[n]: reason for n, reason in held_back.items() if n in self._said_at}

    async def close(self) -> None:
        """End the turn, whatever came of it."""
        await self._stop_releasing()

    def _write_rest(self, connection: Any) -> dict[int, str]:
        now = self._clock()
        queues.check(connection, self._lease, now=now)
        chat = chats.load(connection, self._lease.conversation_id)
        person = chat.person_has_it(now)
        rest = self._drafts[self._released :]
        if person is None:
            bubbles.write(connection, chat.id, self.cause, rest, BubbleState.HELD, now=now)
            held_back.take_back(connection, chat.id, self.cause, now=now)
        elif held_back.is_in_doubt(connection, chat.id):  # the sender will know
            bubbles.write(connection, chat.id, self.cause, rest, BubbleState.HELD, now=now)
        else:
            held_back.hold_back(connection, chat.id, person, now=now)
            reason = held_back.reason_of(person)
            bubbles.write(
                connection, chat.id, self.cause, rest, BubbleState.HELD_BACK, now=now, reason=reason
            )
        return held_back.of_cause(connection, chat.id, self.cause)

    async def _release_when_slow(self, seconds: float) -> None:
        while not await self._ends_within(seconds):
            with contextlib.suppress(LedgerError):  # they leave with the others, when the turn is saved
                await self._release_early()

    async def _ends_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._is_over.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    async def _release_early(self) -> None:
        drafts = self._drafts[self._released :]
        if not drafts:
            return
        await self._database.write(self._queue, drafts)
        self._released += len(drafts)
        self._on_release()

    def _queue(self, connection: Any, drafts: Sequence[Draft]) -> None:
        now = self._clock()
        queues.check(connection, self._lease, now=now)
        bubbles.write(
            connection, self._lease.conversation_id, self.cause, drafts, BubbleState.QUEUED, now=now
        )

    async def _stop_releasing(self) -> None:
        """Release nothing more early, but wait for what is leaving: it cannot be called back."""
        self._is_over.set()
        if self._releasing is not None:
            await self._releasing


class FreeSpeech:
    """What the bot says outside a turn: reminders, external triggers, ``get_output_channel()``.

    A reminder or trigger is one task that says several things: they have one cause, as a turn's bubbles have.
    """

    def __init__(
        self, database: Database, clock: Callable[[], float], on_release: Callable[[], None]
    ) -> None:
        self._database = database
        self._clock = clock
        self._on_release = on_release
        self._causes: WeakKeyDictionary[asyncio.Task[Any], tuple[str, float]] = WeakKeyDictionary()

    async def say(self, sender_id: str, response: JSON) -> None:
        """Queue one response; a takeover keeps it back, a closed window refuses it."""
        cause = self._cause()
        if not await self._database.write(self._queue, sender_id, cause, bodies(response)):
            log.warning("reply.unknown_conversation", remedy="only who has written before can be written to")
        self._on_release()

    def _cause(self) -> str:
        task, now = asyncio.current_task(), self._clock()
        cause, last = self._causes.get(task, ("", 0.0)) if task is not None else ("", 0.0)
        if not cause or now - last > SAME_CAUSE_SECONDS:
            cause = f"free:{secrets.token_hex(8)}"
        if task is not None:
            self._causes[task] = (cause, now)
        return cause

    def _queue(self, connection: Any, sender_id: str, cause: str, said: Sequence[outgoing.Bubble]) -> bool:
        chat = chats.by_sender_id(connection, sender_id)
        if chat is None:
            return False
        first = bubbles.next_ordinal(connection, chat.id, cause)
        drafts = [as_draft(ordinal, bubble) for ordinal, bubble in enumerate(said, first)]
        bubbles.write(connection, chat.id, cause, drafts, BubbleState.QUEUED, now=self._clock())
        return True


def as_draft(ordinal: int, bubble: outgoing.Bubble) -> Draft:
    """Return a bubble as the outbox keeps it, with what each of its buttons means."""
    meant = {button: bubble.payloads.get(button, button) for button in outgoing.reply_ids(bubble.body)}
    return Draft(ordinal=ordinal, body=bubble.body, text=bubble.text, payloads={**bubble.payloads, **meant})
