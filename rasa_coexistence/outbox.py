"""Send what may leave, one conversation's messages in order, each at most once without proof of failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from rasa_coexistence import sending, takeover
from rasa_coexistence.errors import LeaseLost
from rasa_coexistence.events import JSON, ContactIds
from rasa_coexistence.graph.answers import Receipt
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError, Verdict, retry_delay
from rasa_coexistence.ledger import bubbles, chats, failures, held_back, own_sends, people, queues, rates
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.presence import Presence
from rasa_coexistence.records import BubbleState
from rasa_coexistence.settings import Settings
from rasa_coexistence.to_whatsapp import template_body

log = structlog.get_logger(__name__)

Token = Callable[[Any, str], "str | None"]  # (connection, phone_number_id) -> access token

SHORT_SECONDS = 0.3  # a wait so short is not worth giving the conversation back
EARLY_SECONDS = 0.25  # claims are made by a poll: come back in time to hit the slot
SLOT_LASTS_SECONDS = 0.3  # slots that were missed must not all be used at once


class Parcel(Struct, frozen=True, kw_only=True):
    """One message, ready to be handed to Meta."""

    outbox_id: int
    phone_number_id: str
    access_token: str
    body: JSON
    attempts: int

    def __repr__(self) -> str:
        return f"Parcel(outbox_id={self.outbox_id}, attempts={self.attempts})"


# What comes next: a message, the time to look again, or nothing any more.
Step = Parcel | float | queues.Released | LeaseLost


class Outbox:
    """The sender."""

    def __init__(
        self,
        database: Database,
        graph: GraphClient,
        token: Token,
        presence: Presence,
        settings: Settings,
        *,
        clock: Callable[[], float],
        on_news: Callable[[], None],
    ) -> None:
        self._database = database
        self._graph = graph
        self._token = token
        self._presence = presence
        self._replies = settings.replies
        self._rules = takeover.rules_of(settings.takeover)
        self._clock = clock
        self._on_news = on_news

    async def empty(self, lease: queues.Lease) -> queues.Released:
        """Send what may leave of one conversation, then let go of it; raise LeaseLost."""
        step = await self._look(lease)
        while not isinstance(step, queues.Released):
            if isinstance(step, LeaseLost):
                raise step
            if isinstance(step, Parcel):
                outcome = await self._send(step)
                step = await self._database.write(self._settle, lease, step, outcome)
            else:
                await asyncio.sleep(max(step - self._clock(), 0.0))
                step = await self._look(lease)
        return step

    async def _look(self, lease: queues.Lease) -> Step:
        # Whatever has to be waited for comes first: between the last look at the takeover and the call to
        # Meta a person may come.
        await self._presence.settled(lease.conversation_id)
        return await self._database.write(self._step, lease)

    async def _send(self, parcel: Parcel) -> Receipt | GraphError:
        number, token = parcel.phone_number_id, parcel.access_token
        try:
            return await self._graph.send_message(number, parcel.body, access_token=token)
        except GraphError as error:
            return error

    def _step(self, connection: Any, lease: queues.Lease) -> Step:
        """Return the message to send now, or the time to look again soon, or let go of the conversation."""
        step = self._next(connection, lease)
        if isinstance(step, Parcel) or (step is not None and step - self._clock() <= SHORT_SECONDS):
            return step
        return queues.release(connection, lease, due_at=None if step is None else step - EARLY_SECONDS)

    def _next(self, connection: Any, lease: queues.Lease) -> Parcel | float | None:
        """Return the message to send now, or the time to look again, or None when there is nothing left."""
        now = self._clock()
        queues.check(connection, lease, now=now)
        while (row := bubbles.first_pending(connection, lease.conversation_id)) is not None:
            if row.state != BubbleState.QUEUED.value:
                until = self._wait_for_status(connection, row, now)
                if until is not None:
                    return until
                continue
            if self._presence.is_calling(lease.conversation_id):
                return now
            chat = chats.load(connection, lease.conversation_id)  # locked by the check
            decision = sending.decide(self._situation(connection, chat, row, now), now)
            if isinstance(decision, sending.Go):
                decision = self._slot(connection, chat, row, now)
            if isinstance(decision, sending.Wait):
                return decision.until
            to = _address_of(connection, chat)
            if isinstance(decision, sending.Go) and to is not None:
                token = self._token(connection, chat.phone_number_id)
                if token is not None:
                    return self._take(connection, chat, row, to, token, now)
                self._stop_number(connection, row, chat.phone_number_id, now)
                continue
            self._refuse(connection, chat, row, decision, now)
        return None

    def _wait_for_status(self, connection: Any, row: Any, now: float) -> float | None:
        """Give an unanswered try its time; return its end, or None when that is over."""
        until = float(row.changed_at) + sending.UNCLEAR_SECONDS
        if row.state == BubbleState.SENDING.value:  # its sender died before the answer
            bubbles.move(connection, row.id, BubbleState.UNCLEAR, now=row.changed_at, reason="no answer")
        if now < until:
            return until
        bubbles.move(connection, row.id, BubbleState.UNKNOWN, now=now, reason="no answer and no status")
        own_sends.after_doubt(connection, chats.load(connection, row.conversation_id), now=now)
        return None

    def _situation(self, connection: Any, chat: Chat, row: Any, now: float) -> sending.Situation:
        # A conversation that was united with another has a customer still, but its person is in the other.
        others = [] if chat.merged_into is None else [chats.load(connection, chat.merged_into)]
        persons = (of.person_has_it(now) for of in (*others, chat))
        person = next((person for person in persons if person is not None), None)
        return sending.Situation(
            person=person if takeover.keeps_back(person, row.cause) else None,
            number_state=chat.number_state,
            last_customer_at=chat.last_customer_at,
            is_template=msgspec.json.decode(row.body).get("type") == "template",
            not_before=row.not_before,
            stopped_until=chat.stopped_until,
            pair_slot_at=chat.pair_slot_at,
        )

    def _slot(self, connection: Any, chat: Chat, row: Any, now: float) -> sending.Go | sending.Wait:
        """Take a slot of the number; a message that has one goes when it is due."""
        slot = row.slot_at
        if slot is None or slot < now - SLOT_LASTS_SECONDS:
            interval = 1 / self._replies.messages_per_second
            slot = rates.take_number_slot(connection, chat.phone_number_id, now=now, interval=interval)
            if slot > now:
                bubbles.change(connection, row.id, slot_at=slot)
        return sending.Go() if slot <= now else sending.Wait(slot)

    def _take(self, connection: Any, chat: Chat, row: Any, to: JSON, token: str, now: float) -> Parcel:
        attempts = row.attempts + 1
        bubbles.move(connection, row.id, BubbleState.SENDING, now=now, attempts=attempts, slot_at=None)
        rates.take_pair_slot(connection, chat.id, now=now, interval=sending.PAIR_SECONDS)
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **to,
            **msgspec.json.decode(row.body),
            "biz_opaque_callback_data": bubbles.callback_data(row.id, row.cause),
        }
        return Parcel(
            outbox_id=row.id,
            phone_number_id=chat.phone_number_id,
            access_token=token,
            body=body,
            attempts=attempts,
        )

    def _refuse(self, connection: Any, chat: Chat, row: Any, decision: object, now: float) -> None:
        """Record why a message does not leave."""
        if isinstance(decision, sending.HoldBack):
            held_back.hold_back(connection, chat.id, decision.person, now=now, only=row.id)
        elif isinstance(decision, sending.ClosedWindow):
            self._refuse_in_closed_window(connection, row, now)
        else:
            reason = "nothing is known of this customer that WhatsApp sends to"
            if isinstance(decision, sending.NumberGone):
                reason = f"the business number is {decision.state}"
            bubbles.move(connection, row.id, BubbleState.UNDELIVERABLE, now=now, reason=reason)

    def _refuse_in_closed_window(
        self, connection: Any, row: Any, now: float, reason: str = "the customer has not written for 24 hours"
    ) -> None:
        """Let the template go in the place of the first bubble of an answer, if there is one."""
        template = self._replies.closed_window_template
        if template is None or bubbles.cause_has_template(connection, row.conversation_id, row.cause):
            bubbles.move(connection, row.id, BubbleState.UNDELIVERABLE, now=now, reason=reason)
            return
        body = template_body(template.name, template.language)
        bubbles.replace_body(connection, row.id, body, now=now, reason=f"{reason}: sent the template")

    def _settle(
        self, connection: Any, lease: queues.Lease, parcel: Parcel, outcome: Receipt | GraphError
    ) -> Step:
        """Write down what came of a try, whoever has the lease by now, and return what is next."""
        row = bubbles.get(connection, parcel.outbox_id)
        if row is None:
            log.info("outbox.forgotten", outbox_id=parcel.outbox_id)  # with its customer
        elif isinstance(outcome, Receipt):
            self._settle_receipt(connection, lease, row, outcome)
        elif row.state == BubbleState.SENDING.value:  # else a status proved that it arrived
            self._settle_error(connection, row, parcel, outcome)
        try:
            return self._step(connection, lease)
        except LeaseLost as lost:
            return lost  # raised when this is written: what came of the try is true all the same

    def _settle_receipt(self, connection: Any, lease: queues.Lease, row: Any, receipt: Receipt) -> None:
        now = self._clock()
        bubbles.accept(connection, row, receipt.wamid, now=now)
        chat = chats.lock(connection, lease.conversation_id)
        if receipt.wa_id not in (None, chat.wa_id) or receipt.user_id not in (None, chat.user_id):
            contact = ContactIds(wa_id=receipt.wa_id, user_id=receipt.user_id)
            people.learn(connection, chat.phone_number_id, chat.id, contact)
        if chat.stopped_until is not None:
            rates.go_on(connection, chat.phone_number_id)
        if own_sends.remember(connection, chat, row, receipt.wamid, self._rules, now=now):
            self._on_news()

    def _settle_error(self, connection: Any, row: Any, parcel: Parcel, error: GraphError) -> None:
        now = self._clock()
        told = {"reason": str(error), "code": error.code}
        log.warning("outbox.refused", outbox_id=row.id, code=error.code, verdict=error.verdict.name)
        delay = retry_delay(error.verdict, parcel.attempts, jitter=random.random())  # noqa: S311 - no secret
        match error.verdict:
            case Verdict.UNCLEAR:
                bubbles.move(connection, row.id, BubbleState.UNCLEAR, now=now, **told)
                return
            case Verdict.STOP_NUMBER | Verdict.DISCONNECTED:
                self._stop_number(connection, row, parcel.phone_number_id, now, error)
                return  # nothing leaves before somebody has looked at it, so nothing has to be held back
            case Verdict.CLOSED_WINDOW:
                self._refuse_in_closed_window(connection, row, now, reason=str(error))
            case _ if delay is None:
                bubbles.move(connection, row.id, BubbleState.FAILED, now=now, **told)
                failures.message_failed(connection, row, code=error.code, now=now)
            case _:
                bubbles.move(connection, row.id, BubbleState.QUEUED, now=now, not_before=now + delay, **told)
        if error.verdict is Verdict.THROTTLED and delay is not None:
            rates.slow_down(connection, parcel.phone_number_id, until=now + delay)
        own_sends.after_doubt(connection, chats.load(connection, row.conversation_id), now=now)

    @staticmethod
    def _stop_number(
        connection: Any, row: Any, number: str, now: float, error: GraphError | None = None
    ) -> None:
        """Let the whole number wait, without a token above all: every other message would fail alike."""
        error = error or GraphError.without_token(number)
        told = {"reason": str(error), "code": error.code}
        failures.number_stopped(connection, number, code=error.code, reason=str(error), now=now)
        rates.stop(connection, number, until=now + sending.STOPPED_SECONDS)
        is_late = now > row.created_at + sending.WINDOW_SECONDS
        state = BubbleState.FAILED if is_late else BubbleState.QUEUED
        bubbles.move(connection, row.id, state, now=now, **told)


def _address_of(connection: Any, chat: Chat) -> JSON | None:
    """Return the part of a message that says who it is for; None when no id of the customer will do."""
    if chat.wa_id:
        return {"to": f"+{chat.wa_id}"}  # without the plus Meta may put the shop's own country before it
    if chat.user_id:
        return {"recipient": chat.user_id}
    parents = [alias for alias in people.aliases_of(connection, chat.id) if alias.startswith("parent:")]
    return {"recipient": parents[0].removeprefix("parent:")} if parents else None
