"""Find the conversation of a customer by whatever ids a webhook gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence import identity
from rasa_coexistence.errors import LedgerError
from rasa_coexistence.events import ContactIds
from rasa_coexistence.ledger import dialects, uniting
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.schema import aliases, conversations

SenderId = Callable[[str, str], str]  # (phone_number_id, contact) -> Rasa's conversation id
LEARNT = ("wa_id", "user_id", "username", "name")  # what a conversation's row takes over from ContactIds


class SenderIdTaken(LedgerError):
    """Two business numbers would share one Rasa conversation."""


def find(connection: Any, phone_number_id: str, contact: ContactIds) -> int | None:
    """Return the id of the customer's conversation, if there is one."""
    found = _known_by(connection, phone_number_id, contact)
    return found[0].id if found else None


def resolve(
    connection: Any, phone_number_id: str, contact: ContactIds, *, now: float, sender_id: SenderId
) -> int:
    """Return the customer's conversation; make it, learn new ids, unite two that are one person."""
    known_as = identity.aliases(contact)
    found = _known_by(connection, phone_number_id, contact)
    if not found and not contact.is_known:
        raise LedgerError("nothing in this item tells which customer it is about")
    if len(found) == 1 and found[0].has_all(known_as, contact):
        return found[0].id
    conversation_id = found[0].id if found else _create(connection, phone_number_id, contact, now, sender_id)
    for other in found[1:]:
        uniting.unite(connection, other.id, conversation_id, now=now)
    _learn(connection, phone_number_id, conversation_id, contact, known_as)
    return conversation_id


def aliases_of(connection: Any, conversation_id: int) -> list[str]:
    """Return every alias that leads to a conversation."""
    statement = sa.select(aliases.c.alias).where(aliases.c.conversation_id == conversation_id)
    return list(connection.execute(statement).scalars())


def change_identity(
    connection: Any,
    phone_number_id: str,
    previous: ContactIds,
    current: ContactIds,
    *,
    now: float,
    sender_id: SenderId,
) -> int:
    """Let a customer's new ids lead to the conversation that the old ones led to."""
    conversation_id = resolve(connection, phone_number_id, previous, now=now, sender_id=sender_id)
    for known in _known_by(connection, phone_number_id, current):
        other = known.id
        if other != conversation_id:
            conversation_id, other = min(conversation_id, other), max(conversation_id, other)
            uniting.unite(connection, other, conversation_id, now=now)
    _learn(connection, phone_number_id, conversation_id, current, identity.aliases(current))
    return conversation_id


class _Known(Struct, kw_only=True):
    """A conversation that some ids lead to, and what is known of its customer."""

    id: int
    facts: tuple[str | None, ...]  # as LEARNT names them
    aliases: set[str]

    def has_all(self, known_as: Sequence[str], contact: ContactIds) -> bool:
        """Tell whether a contact's ids and names say nothing new."""
        given = (plain(getattr(contact, name)) for name in LEARNT)
        same = all(not told or told == known for told, known in zip(given, self.facts, strict=True))
        return same and self.aliases.issuperset(alias[:160] for alias in known_as)

    def may_be(self, contact: ContactIds) -> bool:
        """Tell whether nothing that is known of a conversation speaks against this customer."""
        wa_id, user_id = self.facts[:2]
        same_phone = not (wa_id and contact.wa_id) or identity.phones_match(wa_id, contact.wa_id)
        return same_phone and user_id in (None, contact.user_id or user_id)


def _known_by(connection: Any, phone_number_id: str, contact: ContactIds) -> list[_Known]:
    """Return the conversations that a customer's ids lead to, oldest first.

    Usernames change hands: one counts only where nothing better is known, and never against a better id.
    """
    known_as = identity.aliases(contact)
    found = _with_aliases(connection, phone_number_id, known_as)
    strong = [known for known in found if any(map(identity.identifies, known.aliases))]
    return strong or [known for known in found if known.may_be(contact)][:1]


def _with_aliases(connection: Any, phone_number_id: str, known_as: Sequence[str]) -> list[_Known]:
    found: dict[int, _Known] = {}
    for wanted in known_as:
        for id_, alias, *facts in _WITH_ALIAS.all(connection, number=phone_number_id, alias=wanted[:160]):
            known = found.setdefault(id_, _Known(id=id_, facts=tuple(facts), aliases=set()))
            known.aliases.add(alias)
    return sorted(found.values(), key=lambda known: known.id)


_WITH_ALIAS = Prepared(
    sa.select(conversations.c.id, aliases.c.alias, *(conversations.c[name] for name in LEARNT))
    .join(conversations, conversations.c.id == aliases.c.conversation_id)
    .where(
        aliases.c.phone_number_id == sa.bindparam("number"),
        aliases.c.alias == sa.bindparam("alias"),
    )
)


def _create(
    connection: Any, phone_number_id: str, contact: ContactIds, now: float, sender_id: SenderId
) -> int:
    rasa_id = sender_id(phone_number_id, name_of(contact))
    taken = connection.execute(
        sa.select(conversations.c.id, conversations.c.phone_number_id).where(
            conversations.c.sender_id == rasa_id
        )
    ).first()
    if taken is None:
        values = {"phone_number_id": phone_number_id, "sender_id": rasa_id, "created_at": now}
        return dialects.insert_returning_id(connection, conversations, values)
    if taken.phone_number_id != phone_number_id:
        raise SenderIdTaken(
            "a customer writes to two of your numbers, which share one Rasa conversation: "
            'set sender_id: "{phone_number_id}:{contact}" in credentials.yml'
        )
    return int(taken.id)


def name_of(contact: ContactIds) -> str:
    """Return the id by which a customer goes for ever, if this is the first that is heard of them."""
    return contact.wa_id or contact.user_id or contact.parent_user_id or ""


def learn(connection: Any, phone_number_id: str, conversation_id: int, contact: ContactIds) -> None:
    """Let these ids lead to a conversation, unless they lead to another already."""
    _learn(connection, phone_number_id, conversation_id, contact, identity.aliases(contact))


def _learn(
    connection: Any, phone_number_id: str, conversation_id: int, contact: ContactIds, known_as: Sequence[str]
) -> None:
    if known_as:
        rows = [(phone_number_id, alias[:160], conversation_id) for alias in known_as]
        dialects.bulk_insert(connection, aliases, ("phone_number_id", "alias", "conversation_id"), rows)
    given = {key: plain(getattr(contact, key)) for key in LEARNT}
    news = {key: value for key, value in given.items() if value}
    if news:
        differs = sa.or_(*(conversations.c[key].is_distinct_from(value) for key, value in news.items()))
        connection.execute(
            conversations.update().where(conversations.c.id == conversation_id, differs).values(**news)
        )
