"""Send what may leave, one conversation's messages in order, each at most once without proof of failure."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from rasa_coexistence import sending, takeover
from rasa_coexistence.events import JSON, ContactIds
from rasa_coexistence.graph.answers import Receipt
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError, Verdict, retry_delay
from rasa_coexistence.ledger import bubbles, chats, failures, held_back, own_sends, people, queues
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.records import BubbleState
from rasa_coexistence.settings import Settings
from rasa_coexistence.to_whatsapp import template_body

log = structlog.get_logger(__name__)

Token = Callable[[str], Awaitable[str | None]]  # phone_number_id -> access token


class Parcel(Struct, frozen=True, kw_only=True):
    """One message, ready to be handed to Meta."""

    outbox_id: int
    phone_number_id: str
    body: JSON
    attempts: int
    cause: str


class Outbox:
    """The sender."""

    def __init__(
        self,
        database: Database,
        graph: GraphClient,
        token: Token,
        settings: Settings,
        *,
        clock: Callable[[], float],
        on_news: Callable[[], None],
    ) -> None:
        self._database = database
        self._graph = graph
        self._token = token
        self._replies = settings.replies
        self._rules = takeover.rules_of(settings.takeover)
        self._clock = clock
        self._on_news = on_news

    async def empty(self, lease: queues.Lease) -> float | None:
        """Send what may leave of one conversation; return when to look at it again."""
        while True:
            step = await self._database.write(self._next, lease)
            if not isinstance(step, Parcel):
                return step
            try:
                receipt = await self._send(step)
            except GraphError as error:
                await self._database.write(self._settle_error, lease, step, error)
            else:
                await self._database.write(self._settle_receipt, lease, step, receipt)

    async def _send(self, parcel: Parcel) -> Receipt:
        token = await self._token(parcel.phone_number_id)
        if token is None:
            raise GraphError.without_token(parcel.phone_number_id)
        return await self._graph.send_message(parcel.phone_number_id, parcel.body, access_token=token)

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
            chat = chats.lock(connection, lease.conversation_id)
            decision = sending.decide(self._situation(chat, row, now), now)
            if isinstance(decision, sending.Wait):
                return decision.until
            if isinstance(decision, sending.Go):
                return self._take(connection, chat, row, now)
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

    def _situation(self, chat: Chat, row: Any, now: float) -> sending.Situation:
        person = chat.person_has_it(now)
        return sending.Situation(
            person=person if takeover.keeps_back(person, row.cause) else None,
            number_state=chat.number_state,
            last_customer_at=chat.last_customer_at,
            is_template=msgspec.json.decode(row.body).get("type") == "template",
            not_before=row.not_before,
            number_slot_at=chat.send_slot_at,
            pair_slot_at=chat.pair_slot_at,
        )

    def _take(self, connection: Any, chat: Chat, row: Any, now: float) -> Parcel:
        bubbles.move(connection, row.id, BubbleState.SENDING, now=now, attempts=row.attempts + 1)
        chats.take_slots(
            connection,
            chat,
            now=now,
            number_interval=1 / self._replies.messages_per_second,
            pair_interval=sending.PAIR_SECONDS,
        )
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **({"to": f"+{chat.wa_id}"} if chat.wa_id else {"recipient": chat.user_id}),
            **msgspec.json.decode(row.body),
            "biz_opaque_callback_data": bubbles.callback_data(row.id, row.cause),
        }
        return Parcel(
            outbox_id=row.id,
            phone_number_id=chat.phone_number_id,
            body=body,
            attempts=row.attempts + 1,
            cause=row.cause,
        )

    def _refuse(self, connection: Any, chat: Chat, row: Any, decision: object, now: float) -> None:
        """Record why a message does not leave."""
        if isinstance(decision, sending.HoldBack):
            held_back.hold_back(connection, chat.id, decision.person, now=now, only=row.id)
        elif isinstance(decision, sending.NumberGone):
            reason = f"the business number is {decision.state}"
            bubbles.move(connection, row.id, BubbleState.UNDELIVERABLE, now=now, reason=reason)
        else:
            reason = "the customer has not written for 24 hours"
            template = self._replies.closed_window_template
            if template is not None and not bubbles.cause_has_template(connection, chat.id, row.cause):
                body = template_body(template.name, template.language)
                bubbles.replace_body(connection, row.id, body, now=now, reason=f"{reason}: sent the template")
            else:
                bubbles.move(connection, row.id, BubbleState.UNDELIVERABLE, now=now, reason=reason)

    def _settle_receipt(self, connection: Any, lease: queues.Lease, parcel: Parcel, receipt: Receipt) -> None:
        now = self._clock()
        row = bubbles.get(connection, parcel.outbox_id)
        if row.state == BubbleState.SENDING.value:  # else a status was faster than the answer
            bubbles.move(connection, row.id, BubbleState.ACCEPTED, now=now, wamid=receipt.wamid)
        chat = chats.lock(connection, lease.conversation_id)
        contact = ContactIds(wa_id=receipt.wa_id, user_id=receipt.user_id)
        people.learn(connection, chat.phone_number_id, chat.id, contact)
        if own_sends.remember(connection, chat, row, receipt.wamid, self._rules, now=now):
            self._on_news()

    def _settle_error(self, connection: Any, lease: queues.Lease, parcel: Parcel, error: GraphError) -> None:
        now = self._clock()
        row = bubbles.get(connection, parcel.outbox_id)
        if row.state != BubbleState.SENDING.value:
            return  # a status proved that it arrived
        told = {"reason": str(error), "code": error.code}
        log.warning("outbox.refused", outbox_id=row.id, code=error.code, verdict=error.verdict.name)
        if error.verdict is Verdict.UNCLEAR:
            bubbles.move(connection, row.id, BubbleState.UNCLEAR, now=now, **told)
            return
        if error.verdict is Verdict.STOP_NUMBER or error.verdict is Verdict.DISCONNECTED:
            failures.number_stopped(
                connection, parcel.phone_number_id, code=error.code, reason=str(error), now=now
            )
            until = now + sending.STOPPED_SECONDS
            bubbles.move(connection, row.id, BubbleState.QUEUED, now=now, not_before=until, **told)
            return  # nothing leaves before somebody has looked at it, so nothing has to be held back
        delay = retry_delay(error.verdict, parcel.attempts, jitter=random.random())  # noqa: S311 - no secret
        if delay is None:
            bubbles.move(connection, row.id, BubbleState.FAILED, now=now, **told)
            failures.message_failed(connection, row, code=error.code, now=now)
        else:
            bubbles.move(connection, row.id, BubbleState.QUEUED, now=now, not_before=now + delay, **told)
        own_sends.after_doubt(connection, chats.load(connection, row.conversation_id), now=now)
