"""Delete a customer from every table."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence import identity
from rasa_coexistence.errors import Postponed
from rasa_coexistence.ledger import dialects, inbox, queues
from rasa_coexistence.ledger.columns import metadata
from rasa_coexistence.ledger.schema import aliases, contacts, conversations, messages, set_aside
from rasa_coexistence.ledger.schema import inbox as bodies
from rasa_coexistence.ledger.schema_history import parses, published
from rasa_coexistence.sqlite_wiping import overwriting

_DIGITS = re.compile(r"\d{7,20}")
_WAMID = re.compile(r"wamid\.([A-Za-z0-9+/_-]{16,})")


class Customer(Struct, frozen=True, kw_only=True):
    """A person, with all conversations that proved to be theirs."""

    phone_number_id: str
    conversation_ids: list[int]
    sender_ids: list[str]
    aliases: list[str]

    @property
    def phones(self) -> frozenset[str]:
        """Their phone numbers, each in its canonical form."""
        return frozenset(_value(alias) for alias in self.aliases if alias.startswith("phone:"))

    @property
    def other_ids(self) -> frozenset[str]:
        """What else is theirs alone: BSUIDs."""
        return frozenset(_value(alias) for alias in self.aliases if alias.startswith(("user:", "parent:")))

    @property
    def usernames(self) -> frozenset[str]:
        """What they call themselves, in lower case."""
        return frozenset(_value(alias) for alias in self.aliases if alias.startswith("username:"))


def customer_of(connection: Any, conversation_id: int) -> Customer | None:
    """Return whose conversation this is, or None when it is gone."""
    row = _conversation(connection, conversation_id)
    while row is not None and row.merged_into is not None:
        row = _conversation(connection, row.merged_into)
    if row is None:
        return None
    found = [row]
    for each in found:  # grows while it is walked through: united ones can have taken in others
        merged = sa.select(conversations).where(conversations.c.merged_into == each.id)
        found += connection.execute(merged).all()
    ids = [each.id for each in found]
    known_as = sa.select(aliases.c.alias).where(aliases.c.conversation_id.in_(ids))
    return Customer(
        phone_number_id=row.phone_number_id,
        conversation_ids=ids,
        sender_ids=[each.sender_id for each in found],
        aliases=list(connection.execute(known_as).scalars()),
    )


def somebody(known_as: Sequence[str]) -> Customer:
    """Return a person with whom there is no conversation."""
    return Customer(phone_number_id="", conversation_ids=[], sender_ids=[], aliases=list(known_as))


def named_aside(connection: Any, customer: Customer) -> list[int]:
    """Return the ids of what was set aside and names the customer."""
    rows = connection.execute(sa.select(set_aside.c.id, set_aside.c.raw, set_aside.c.webhook))
    return [row.id for row in rows if names(row.raw, customer) or names(row.webhook or "", customer)]


def names(text: str, customer: Customer) -> bool:
    """Tell whether a text has a customer's phone, however it is spelt, or another of their ids.

    A username counts only where it stands alone: it can be a word that anybody writes.
    """
    wamids = [_readable(wamid) for wamid in _WAMID.findall(text)]
    if any(_stands_in(id_, text) or any(id_ in wamid for wamid in wamids) for id_ in customer.other_ids):
        return True
    if any(f'"{at}{name}"' in text.casefold() for name in customer.usernames for at in ("", "@")):
        return True
    return any(
        identity.canonical_phone(digits) in customer.phones
        for part in (text, *wamids)
        for digits in _DIGITS.findall(part)
    )


def _stands_in(id_: str, text: str) -> bool:
    """Tell whether a text has an id, and not only a longer one that begins or ends like it."""
    place = text.find(id_)
    while place >= 0:
        around = text[max(place - 1, 0) : place], text[place + len(id_) : place + len(id_) + 1]
        if not any(character.isalnum() for character in around):
            return True
        place = text.find(id_, place + 1)
    return False


def is_still_read(connection: Any, customer: Customer) -> str | None:
    """Say what of the customer has not been read yet and would bring them back, or return None."""
    if inbox.with_thread(connection, customer.aliases):
        return "old chat of this customer waits to be read"
    live = sa.select(bodies.c.body).where(bodies.c.lane == inbox.LIVE)
    if any(
        names(inbox.unpacked(bytes(stored)).decode("utf-8", "replace"), customer)
        for stored in connection.execute(live).scalars()
    ):
        return "a message of this customer waits to be read"
    return None


def delete(
    connection: Any, lease: queues.Lease, customer: Customer, aside: Sequence[int], *, job_id: int, now: float
) -> int:
    """Delete a customer and return how many messages that were; raise Postponed while others work on them."""
    dialects.serialize(connection, dialects.MANY)
    queues.check(connection, lease, now=now)
    reason = is_still_read(connection, customer) or _is_worked_on(connection, lease, customer, now)
    if reason is not None:
        raise Postponed(reason, retry_in_seconds=1.0)
    with overwriting(connection):
        count = _delete(connection, customer.conversation_ids, job_id)
        delete_names(connection, customer.aliases, aside, phone_number_id=customer.phone_number_id)
    return count


def traces(connection: Any, person: Customer) -> tuple[int, list[int]]:
    """Return how often address books have a person, and the ids of what was set aside of them."""
    entries = sa.select(contacts.c.phone_number_id, contacts.c.same_as).distinct()
    known = connection.execute(entries.where(contacts.c.alias.in_(person.aliases))).all()
    return len(known), named_aside(connection, person)


def delete_traces(connection: Any, person: Customer) -> None:
    """Delete what stands of a person outside of conversations; raise Postponed while more is to come."""
    dialects.serialize(connection, dialects.MANY)
    reason = is_still_read(connection, person)
    if reason is not None:
        raise Postponed(reason, retry_in_seconds=1.0)
    with overwriting(connection):
        aside = named_aside(connection, person)
        delete_names(connection, person.aliases, aside, phone_number_id=None)


def _delete(connection: Any, ids: Sequence[int], job_id: int) -> int:
    theirs = sa.select(messages.c.id).where(messages.c.conversation_id.in_(ids))
    for table in (parses, published):
        connection.execute(table.delete().where(table.c.message_id.in_(theirs)))
    count = connection.execute(messages.delete().where(messages.c.conversation_id.in_(ids))).rowcount
    for table in metadata.sorted_tables:
        if "conversation_id" in table.c:
            others = [] if table.name != "coexistence_jobs" else [table.c.id != job_id]
            connection.execute(table.delete().where(table.c.conversation_id.in_(ids), *others))
    connection.execute(conversations.delete().where(conversations.c.id.in_(ids)))
    return int(count)


def delete_names(
    connection: Any, known_as: Sequence[str], aside: Iterable[int], *, phone_number_id: str | None
) -> None:
    """Delete what the owner's address book says of somebody, and what was set aside of them."""
    at = [] if phone_number_id is None else [contacts.c.phone_number_id == phone_number_id]
    persons = sa.select(contacts.c.same_as).where(contacts.c.alias.in_(known_as), *at)
    same = connection.execute(persons).scalars().all()
    is_them = sa.or_(contacts.c.alias.in_(known_as), contacts.c.same_as.in_([*known_as, *same]))
    connection.execute(contacts.delete().where(is_them, *at))
    for some in dialects.in_slices(aside):
        connection.execute(set_aside.delete().where(set_aside.c.id.in_(some)))


def _conversation(connection: Any, conversation_id: int) -> Any:
    statement = sa.select(conversations).where(conversations.c.id == conversation_id)
    return connection.execute(statement).first()


def _is_worked_on(connection: Any, lease: queues.Lease, customer: Customer, now: float) -> str | None:
    """Say who would go on writing about the customer; our own lease keeps nobody else back."""
    statement = sa.select(conversations).where(conversations.c.id.in_(customer.conversation_ids))
    for row in connection.execute(dialects.for_update(statement)):
        talks = row.id != lease.conversation_id and (row.talk_lease_until or 0.0) > now
        if talks or (row.send_lease_until or 0.0) > now:
            return "this customer is being written to"
    return None


def _readable(encoded: str) -> str:
    """Return what stands in a wamid: the phone or BSUID that it is scoped to."""
    padded = encoded.replace("-", "+").replace("_", "/") + "=" * (-len(encoded) % 4)
    try:
        return base64.b64decode(padded).decode("latin-1")
    except (binascii.Error, ValueError):
        return ""


def _value(alias: str) -> str:
    return alias.partition(":")[2]
