"""Take or refuse what the app sends, by Meta's rules."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasa_coexistence.identity import canonical_phone, make_wamid, phone_digits
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.clock import Clock
from rasa_coexistence.simulator.limits import MEDIA, check_body
from rasa_coexistence.simulator.rates import Rates
from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.state import JSON, Answer, Link, Number, Person, Sent, Webhook, bsuid

BSUID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]+")
MONTH_SECONDS = 30 * 24 * 3600
FREE_MESSAGES = 1000  # service messages of a number and month


@dataclass(kw_only=True)
class Behaviour:
    """What a test may change about how Meta behaves."""

    latency_seconds: float = 0.0  # of every Graph call
    statuses: Sequence[str] = ("sent", "delivered", "read")  # told in this order
    status_seconds: float = 0.02  # between one and the next
    statuses_before_answer: bool = False
    late_codes: frozenset[int] = frozenset({131026, 131053})  # taken first, failed afterwards
    echo_own_sends: str = "never"  # before | after: the app's own message comes as an echo as well
    templates: dict[str, set[str]] | None = None  # name -> languages; None: every one exists


@dataclass(kw_only=True)
class Sending:
    """Messages on their way from the app to customers."""

    clock: Clock
    rates: Rates = field(default_factory=Rates)
    behaviour: Behaviour = field(default_factory=Behaviour)
    has_media: Callable[[str], bool] = lambda media_id: True
    sent: list[Sent] = field(default_factory=list)
    read: dict[str, float] = field(default_factory=dict)  # wamid of a customer -> marked as read when
    typing: list[tuple[str, float]] = field(default_factory=list)
    known: dict[str, tuple[float, str, bool]] = field(
        default_factory=dict
    )  # wamid -> when, type, from business
    _people: dict[str, Person] = field(default_factory=dict)

    def introduce(self, person: Person) -> Person:
        """Let Meta know a customer by every id they have; returns them."""
        for key in (person.wa_id, *person.phones):
            if key:
                self._people[canonical_phone(key) or key] = person
        if person.user_id:
            self._people[person.user_id] = person
        return person

    def person(self, key: str) -> Person:
        """Return who is behind a phone or BSUID; a stranger is somebody too."""
        known = self._people.get(canonical_phone(key) or key)
        if known is not None:
            return known
        if BSUID.fullmatch(key):
            return self.introduce(Person(user_id=key))
        return self.introduce(Person(wa_id=key, user_id=bsuid(key)))

    def new_wamid(self, chat: str, kind: str, *, from_business: bool, at: float | None = None) -> str:
        """Make up a message's id and remember that it exists."""
        wamid = make_wamid(chat, secrets.token_hex(10).upper(), from_business=from_business)
        self.known[wamid] = (self.clock.now() if at is None else at, kind, from_business)
        return wamid

    def mark_read(self, body: JSON) -> Answer:
        """Mark a customer's message as read, and show that somebody types."""
        wamid, now = str(body.get("message_id", "")), self.clock.now()
        known = self.known.get(wamid)
        if body.get("status") != "read":
            raise Refusal(100, "Param status must be read")
        if known is None or known[2] or now - known[0] > MONTH_SECONDS:
            raise Refusal(131009, "message_id is not a message that a customer sent within 30 days.")
        typing = body.get("typing_indicator")
        if typing is not None and typing != {"type": "text"}:
            raise Refusal(100, "Param typing_indicator['type'] must be text")
        self.read[wamid] = now
        if typing is not None:
            self.typing.append((wamid, now))
        return Answer({"success": True})

    def send(self, number: Number, body: JSON) -> Answer:
        """Take a message, or raise the Refusal that Meta would answer with."""
        now = self.clock.now()
        if body.get("messaging_product") != "whatsapp":
            raise Refusal(100, "The parameter messaging_product is required.")
        if number.link is not Link.CONNECTED:
            raise Refusal(133010, "The phone number is not connected to the Cloud API.")
        self.rates.check_throughput(number.phone_number_id, now)
        body = {"type": "text"} | {name: part for name, part in body.items() if part is not None}
        check_body(body)
        recipient = self._recipient(number, body)
        self._check_contents(body)
        person = self.person(recipient)
        problem = self._problem(number, person, body, now)
        if problem is not None and problem.code not in self.behaviour.late_codes:
            raise problem
        self.rates.take_pair(number.phone_number_id, person.key, now)
        self.rates.count(number.phone_number_id, now)
        return self._take(number, person, recipient, body, problem)

    def _recipient(self, number: Number, body: JSON) -> str:
        """Return who it is for: ``to`` wins over ``recipient``."""
        to, recipient = body.get("to"), body.get("recipient")
        if to is None and recipient is None:
            raise Refusal(100, "The parameter to is required.")
        if to is None:
            if not isinstance(recipient, str) or not BSUID.fullmatch(recipient):
                raise Refusal(100, "Param recipient is not a valid business-scoped user id")
            return recipient
        if not isinstance(to, str):
            raise Refusal(100, "Param to must be a string")
        if BSUID.fullmatch(to):
            return to
        digits = phone_digits(to)
        if digits is None or len(digits) < 5:
            raise Refusal(131009, "Param to is not a valid phone number")
        if digits == number.display_phone_number:
            raise Refusal(131021, "The sender and the recipient are the same number.")
        return digits

    def _check_contents(self, body: JSON) -> None:
        kind = body["type"]
        if kind in MEDIA and "id" in body[kind] and not self.has_media(str(body[kind]["id"])):
            raise Refusal(131009, f"{body[kind]['id']} is not a media id, or it has expired.")
        if kind == "template" and self.behaviour.templates is not None:
            language = body["template"]["language"]["code"]
            if language not in self.behaviour.templates.get(body["template"]["name"], ()):
                raise Refusal(132001, f"template name does not exist in {language}")

    def _problem(self, number: Number, person: Person, body: JSON, now: float) -> Refusal | None:
        """Return what keeps this customer from getting this message."""
        kind = body["type"]
        if person.blocked:
            return Refusal(130403, "The business has blocked this user.")
        opened = self.rates.window_is_open(
            number.phone_number_id, person.key, now=now, onboarded_at=number.onboarded_at
        )
        if kind != "template" and not opened:
            return Refusal(131047, "More than 24 hours have passed since the customer last wrote.")
        if not person.on_whatsapp:
            return Refusal(131026, "The recipient is not on WhatsApp.")
        if kind in MEDIA and ".invalid/" in str(body[kind].get("link", "")):
            return Refusal(131053, "The media could not be fetched from the link.")
        if kind == "reaction":
            target = self.known.get(body["reaction"]["message_id"])
            if target is None or target[1] == "reaction" or now - target[0] > MONTH_SECONDS:
                return Refusal(131009, "The message to react to is not there, too old, or a reaction.")
        return None

    def _take(
        self, number: Number, person: Person, recipient: str, body: JSON, problem: Refusal | None
    ) -> Answer:
        by_bsuid = BSUID.fullmatch(recipient) is not None
        wamid = self.new_wamid(recipient, body["type"], from_business=True)
        sent = Sent(
            wamid=wamid,
            phone_number_id=number.phone_number_id,
            recipient=str(body.get("to", body.get("recipient"))),
            person=person,
            body=body,
            at=self.clock.now(),
            dropped=by_bsuid and "to" in body,  # Meta says yes and never delivers it
        )
        self.sent.append(sent)
        told = [] if sent.dropped else self._statuses(number, sent, problem)
        echoes = self._own_echo(number, sent)
        first = (echoes if self.behaviour.echo_own_sends == "before" else []) + (
            told if self.behaviour.statuses_before_answer else []
        )
        contact: dict[str, Any] = {"input": sent.recipient}
        contact |= {"user_id": recipient} if by_bsuid else {"wa_id": person.wa_id}
        return Answer(
            {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": wamid}]},
            before=first,
            after=[webhook for webhook in (*echoes, *told) if webhook not in first],
        )

    def _statuses(self, number: Number, sent: Sent, problem: Refusal | None) -> list[Webhook]:
        names: Sequence[str] = self.behaviour.statuses
        if problem is not None:
            names = ("failed",)
        elif sent.body["type"] == "reaction":
            names = [name for name in names if name == "sent"]
        sent.statuses.extend(names)
        return [
            webhooks.status(
                number,
                sent.person,
                sent.wamid,
                name,
                sent.at + step,
                callback_data=sent.body.get("biz_opaque_callback_data"),
                error=problem.item() if problem else None,
                by_phone="to" in sent.body,
                pricing=self._pricing() if name == "sent" else None,
                delay_seconds=self.behaviour.status_seconds * step,
            )
            for step, name in enumerate(names, start=1)
        ]

    def _pricing(self) -> JSON:
        free = len(self.sent) <= FREE_MESSAGES
        return {
            "billable": not free,
            "pricing_model": "PMP",
            "type": "free_customer_service" if free else "regular",
            "category": "service",
        }

    def _own_echo(self, number: Number, sent: Sent) -> list[Webhook]:
        if self.behaviour.echo_own_sends == "never":
            return []
        kind = sent.body["type"]
        described = webhooks.message(sent.wamid, sent.at, kind, sent.body[kind])
        return [webhooks.echo(number, sent.person, described)]
