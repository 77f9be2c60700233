"""What customers are called in the address book of the owner's phone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from rasa_coexistence import identity
from rasa_coexistence.events import ContactChange
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.schema import aliases, contacts, conversations

_KEY = ("phone_number_id", "alias")
_COLUMNS = (*_KEY, "same_as", "full_name", "first_name", "username", "removed", "changed_at")


def keep(
    connection: Any, phone_number_id: str, changes: Iterable[ContactChange], *, received_at: float
) -> None:
    """Keep names and removals; of each contact the newest by its own time."""
    newest: dict[str, tuple[Any, ...]] = {}
    for change in changes:
        for row in _rows(phone_number_id, change, received_at):
            known = newest.get(row[1])
            if known is None or known[-1] <= row[-1]:
                newest[row[1]] = row
    rows = [newest[alias] for alias in sorted(newest)]  # two replicas lock rows in the same order
    dialects.bulk_upsert(connection, contacts, _COLUMNS, rows, key=len(_KEY), kept=1, newer="changed_at")


def name_of_conversation() -> Any:
    """Return the SQL of a conversation's name in the address book, NULL when it has none or no longer.

    A person has a row for each id that contacts gave, and a removal may give but one of them: the newest
    row of the person decides.
    """
    known_by = contacts.alias("known_by")
    person = (
        sa.select(known_by.c.same_as)
        .select_from(known_by.join(aliases, aliases.c.alias == known_by.c.alias))
        .where(
            aliases.c.conversation_id == conversations.c.id,
            aliases.c.phone_number_id == conversations.c.phone_number_id,
            known_by.c.phone_number_id == conversations.c.phone_number_id,
        )
        .correlate(conversations)
    )
    name = sa.func.coalesce(contacts.c.full_name, contacts.c.first_name)
    return (
        sa.select(sa.case((contacts.c.removed.is_(True), None), else_=name))
        .where(contacts.c.phone_number_id == conversations.c.phone_number_id, contacts.c.same_as.in_(person))
        .order_by(contacts.c.changed_at.desc(), contacts.c.removed.desc())
        .limit(1)
        .correlate(conversations)
        .scalar_subquery()
    )


def _rows(phone_number_id: str, change: ContactChange, received_at: float) -> list[tuple[Any, ...]]:
    """Return a row for each id of a contact; a username only where there is nothing better."""
    known_as = [alias[:160] for alias in identity.aliases(change.contact)]
    known_as = [alias for alias in known_as if identity.identifies(alias)] or known_as
    names = (plain(change.full_name), plain(change.first_name), plain(change.contact.username))
    changed_at = change.at or received_at
    return [(phone_number_id, alias, known_as[0], *names, change.removed, changed_at) for alias in known_as]
