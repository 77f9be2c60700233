"""Find the conversations of many customers at once, in a few statements however many they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence import identity
from rasa_coexistence.events import ContactIds
from rasa_coexistence.ledger import dialects, people
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.prepared import Prepared, is_among, pages
from rasa_coexistence.ledger.schema import aliases, conversations


class Found(Struct, frozen=True, kw_only=True):
    """A customer's conversation."""

    id: int
    is_new: bool  # made just now: there is nothing in it yet


def resolve_many(
    connection: Any,
    phone_number_id: str,
    contacts: Sequence[ContactIds],
    *,
    now: float,
    sender_id: people.SenderId,
) -> list[Found]:
    """Return the conversation of each customer, as ``people.resolve`` would one by one.

    Customers of whom everything is known, and ones of whom nothing is, are told from the rows of all; only
    the others are resolved one by one.
    """
    known = _known(connection, phone_number_id, contacts)
    strangers: dict[str, ContactIds] = {}  # by the sender_id that they get
    claimed: set[str] = set()  # aliases of strangers
    for contact in contacts:
        known_as = identity.aliases(contact)
        if contact.is_known and claimed.isdisjoint(known_as) and known.keys().isdisjoint(known_as):
            strangers.setdefault(sender_id(phone_number_id, people.name_of(contact)), contact)
            claimed.update(known_as)
    made = _make(connection, phone_number_id, strangers, now)
    found = []
    for contact in contacts:
        conversation_id = made.get(contact) or _settled(known, contact)
        if conversation_id is None:
            conversation_id = people.resolve(
                connection, phone_number_id, contact, now=now, sender_id=sender_id
            )
        found.append(Found(id=conversation_id, is_new=contact in made))
    return found


def _known(connection: Any, phone_number_id: str, contacts: Sequence[ContactIds]) -> dict[str, Any]:
    """Return the conversations that the customers' ids lead to, by alias."""
    wanted = {alias for contact in contacts for alias in identity.aliases(contact)}
    return {
        row.alias: row
        for page in pages(list(wanted))
        for row in _BY_ALIAS.all(connection, **page, number=phone_number_id)
    }


def _settled(known: Mapping[str, Any], contact: ContactIds) -> int | None:
    """Return the one conversation that all ids of a customer lead to, unless they teach something new."""
    rows = [known[alias] for alias in identity.aliases(contact) if alias in known]
    if len(rows) < len(identity.aliases(contact)) or len({row.id for row in rows}) != 1:
        return None
    given = {name: plain(getattr(contact, name)) for name in people.LEARNT}
    teaches = any(value and value != getattr(rows[0], name) for name, value in given.items())
    return None if teaches else int(rows[0].id)


def _make(
    connection: Any, phone_number_id: str, strangers: Mapping[str, ContactIds], now: float
) -> dict[ContactIds, int]:
    """Make conversations of customers never heard of; leave out those whose sender_id is in use."""
    taken = _by_sender_id(connection, strangers)
    free = {rasa_id: contact for rasa_id, contact in strangers.items() if rasa_id not in taken}
    defaults = {column.name: column.default.arg for column in conversations.c if column.default is not None}
    columns = ("phone_number_id", "sender_id", "created_at", *people.LEARNT, *defaults)
    rows = []
    for rasa_id, contact in free.items():
        learnt = (plain(getattr(contact, name)) for name in people.LEARNT)
        rows.append((phone_number_id, rasa_id, now, *learnt, *defaults.values()))
    dialects.bulk_insert(connection, conversations, columns, rows)
    ids = _by_sender_id(connection, free)
    made = {contact: ids[rasa_id] for rasa_id, contact in free.items()}
    links = [
        (phone_number_id, alias, conversation_id)
        for contact, conversation_id in made.items()
        for alias in identity.aliases(contact)
    ]
    dialects.bulk_insert(connection, aliases, ("phone_number_id", "alias", "conversation_id"), links)
    return made


def _by_sender_id(connection: Any, sender_ids: Iterable[str]) -> dict[str, int]:
    return {
        rasa_id: conversation_id
        for page in pages(list(sender_ids))
        for rasa_id, conversation_id in _BY_SENDER_ID.tuples(connection, **page)
    }


_BY_ALIAS = Prepared(
    sa.select(aliases.c.alias, *(conversations.c[name] for name in ("id", *people.LEARNT))).where(
        aliases.c.phone_number_id == sa.bindparam("number"),
        conversations.c.id == aliases.c.conversation_id,
        is_among(aliases.c.alias),
    )
)
_BY_SENDER_ID = Prepared(
    sa.select(conversations.c.sender_id, conversations.c.id).where(is_among(conversations.c.sender_id))
)
