"""File what customers write."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence import identity, takeover
from rasa_coexistence.errors import LedgerError
from rasa_coexistence.events import ContactIds, CustomerMessage, NumberRef, PhoneEcho
from rasa_coexistence.from_whatsapp.loose import as_int
from rasa_coexistence.ledger import (
    amendments,
    chats,
    failures,
    history_rows,
    message_rows,
    people,
    rates,
    syncs,
    takeovers,
)
from rasa_coexistence.ledger.columns import Time
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.queues import TALK, import_again, wake
from rasa_coexistence.ledger.schema import conversations, numbers
from rasa_coexistence.records import MessageState

NEVER_ANSWERED = frozenset({"reaction", "edit", "revoke", "system", "unsupported", "unknown"})
OPENS_NO_WINDOW = frozenset({"reaction", "edit", "revoke", "system"})  # Meta promises it for messages only
UNAVAILABLE = 131060  # Meta shows this message only on the phone


class UnknownNumber(LedgerError):
    """A webhook is about a business number that this bot does not serve."""

    def __init__(self, phone_number_id: str) -> None:
        self.phone_number_id = phone_number_id
        super().__init__(
            f"phone_number_id {phone_number_id} is not served here: "
            "set phone_number_id in credentials.yml, or sign it up"
        )


class FilingRules(Struct, frozen=True, kw_only=True):
    """What of the settings decides how events are filed."""

    phone_number_id: str | None
    sender_id: people.SenderId
    ignored: frozenset[str]  # identity.canonical_phone of numbers never answered
    takeover: takeover.Rules
    imports_history: bool
    messages_per_second: float
    adopts_first_number: bool = True  # without phone_number_id, serve the first number Meta speaks of


class NumberNews:
    """What a transaction learns of numbers; written at its end, since their senders wait for it."""

    def __init__(self) -> None:
        self.inbound: Counter[str] = Counter()
        self.phone_was_active: set[str] = set()
        self._known: dict[str, tuple[str | None, str | None]] | None = None
        self._may_keep = True

    def known(self, connection: Any) -> dict[str, tuple[str | None, str | None]]:
        """Return the numbers that the ledger has, with display and account; asked for once."""
        if self._known is not None:
            return self._known
        known = {id_: (shown, account) for id_, shown, account in _NUMBERS.all(connection)}
        self._known = known if self._may_keep else None
        return known

    def changed(self) -> None:
        """Ask again from now on: what was just written may be undone with its step."""
        self._known, self._may_keep = None, False

    def write(self, connection: Any, rules: FilingRules, now: float) -> None:
        """Write all that was learnt."""
        for number, count in sorted(self.inbound.items()):
            rates.count_inbound(connection, number, count, now=now, interval=1 / rules.messages_per_second)
        for number in sorted(self.phone_was_active):
            values = {"last_phone_activity_at": now}
            connection.execute(numbers.update().where(numbers.c.phone_number_id == number).values(**values))


class Place(Struct, frozen=True, kw_only=True):
    """Where and when an event is filed."""

    connection: Any
    rules: FilingRules
    received_at: float
    now: float
    numbers: NumberNews


def business_number(place: Place, number: NumberRef) -> str:
    """Return the phone_number_id that a webhook is about; raise UnknownNumber unless we serve it."""
    given, rules = number.phone_number_id, place.rules
    if given is None:
        raise LedgerError("the webhook does not say which business number it is about")
    known = place.numbers.known(place.connection)
    is_first = not known and rules.phone_number_id is None and rules.adopts_first_number
    if given != rules.phone_number_id and given not in known and not is_first:
        raise UnknownNumber(given)
    display, waba_id = number.display_phone_number, number.waba_id
    learnt_before = known.get(given)
    if learnt_before is None or any(
        new and not old for new, old in zip((display, waba_id), learnt_before, strict=True)
    ):
        syncs.add_number(
            place.connection, given, now=place.now, display_phone_number=display, waba_id=waba_id
        )
        place.numbers.changed()
    return given


def conversation_of(place: Place, phone_number_id: str, contact: ContactIds) -> int:
    """Return the conversation of a customer, made when this is the first that is heard of them."""
    return people.resolve(
        place.connection, phone_number_id, contact, now=place.now, sender_id=place.rules.sender_id
    )


def is_ignored(place: Place, contact: ContactIds, conversation_id: int) -> bool:
    """Tell whether the owner asked never to answer this number, also when the customer hides it now."""
    if not place.rules.ignored:
        return False
    if contact.wa_id:
        return identity.canonical_phone(contact.wa_id) in place.rules.ignored
    ignored = {identity.aliases(ContactIds(wa_id=number))[0] for number in place.rules.ignored}
    return not ignored.isdisjoint(people.aliases_of(place.connection, conversation_id))


def file_customer_message(place: Place, event: CustomerMessage) -> None:
    """Queue what a customer wrote, once."""
    number = business_number(place, event.number)
    conversation_id = conversation_of(place, number, event.contact)
    connection, content = place.connection, event.content
    known = message_rows.find(connection, number, conversation_id, event.wamid, from_business=False)
    if known is not None and not _brings_news(known, event):
        return
    silent = content.type in NEVER_ANSWERED or is_ignored(place, event.contact, conversation_id)
    state = MessageState.KEPT if silent else MessageState.WAITING
    if known is None:
        message_rows.insert(
            connection,
            phone_number_id=number,
            conversation_id=conversation_id,
            wamid=event.wamid,
            from_business=False,
            source="live",
            state=state,
            content=content,
            raw=event.raw,
            sent_at=event.sent_at,
            received_at=place.received_at,
        )
    else:
        values = message_rows.said(content) | {"source": "live", "state": state.value}
        raw = message_rows.raw_of(event.raw)
        message_rows.change(connection, known.id, received_at=place.received_at, raw=raw, **values)
        if known.type == "unsupported":
            chats.person_not_needed(connection, conversation_id)
        if known.source == history_rows.HISTORY:
            history_rows.left(connection, known.conversation_id, now=place.now)
    apply_to_target(place, number, conversation_id, event)
    _note_customer(place, conversation_id, number, event)
    if state is MessageState.WAITING:
        wake(connection, TALK, [conversation_id], at=place.now)


_NUMBERS = Prepared(sa.select(numbers.c.phone_number_id, numbers.c.display_phone_number, numbers.c.waba_id))
_AT, _LAST = sa.bindparam("at", type_=Time), conversations.c.last_customer_at
_CAME = (
    conversations.update()
    .where(conversations.c.id == sa.bindparam("this"))
    .values(first_live_at=sa.func.coalesce(conversations.c.first_live_at, _AT))
)
_CUSTOMER_CAME = Prepared(_CAME)
_CUSTOMER_WROTE = Prepared(_CAME.values(last_customer_at=sa.case((_LAST > _AT, _LAST), else_=_AT)))


def _brings_news(known: Any, event: CustomerMessage) -> bool:
    """Tell whether a known message comes live for the first time, or with the content it lacked."""
    if known.source == "history":
        return True
    return bool(known.type == "unsupported" and event.content.type != "unsupported")


def apply_to_target(
    place: Place, number: str, conversation_id: int, event: CustomerMessage | PhoneEcho
) -> None:
    """Change what an edit or a revoke is about, also if that comes only now; show a reaction at old chat."""
    connection, target = place.connection, event.content.target
    keys = [message_rows.key(event.wamid)]
    changed = False
    if target and event.content.type == "reaction":
        row = message_rows.find_target(connection, number, conversation_id, target)
        changed = row is not None and row.source == history_rows.HISTORY
    elif target:
        keys.append(message_rows.key(target))
    if amendments.settle(connection, number, conversation_id, keys) or changed:
        import_again(connection, [conversation_id], at=place.now)


def _note_customer(place: Place, conversation_id: int, number: str, event: CustomerMessage) -> None:
    at = min(event.sent_at or place.received_at, place.received_at)
    opens_window = event.content.type not in OPENS_NO_WINDOW
    statement = _CUSTOMER_WROTE if opens_window else _CUSTOMER_CAME
    statement.run(place.connection, this=conversation_id, at=at)
    place.numbers.inbound[number] += 1
    if any(as_int(error.get("code")) == UNAVAILABLE for error in event.content.errors):
        failures.message_hidden(place.connection, conversation_id, event.wamid, now=place.now)
    takeovers.undo_greeting(place.connection, conversation_id, at, place.rules.takeover, now=place.now)
