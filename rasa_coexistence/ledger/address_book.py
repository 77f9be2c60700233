"""What customers are called in the address book of the owner's phone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence import identity
from rasa_coexistence.events import ContactChange, NumberRef
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.schema import aliases, contacts, conversations

_KEY = ("phone_number_id", "alias")
_COLUMNS = (*_KEY, "same_as", "full_name", "first_name", "username", "removed", "changed_at")


class Page(Struct, frozen=True):
    """Changes of one number's address book, ready to be written."""

    number: NumberRef
    rows: list[tuple[Any, ...]]  # _COLUMNS without the number
    count: int  # of contacts


def pages(changes: Iterable[ContactChange]) -> list[Page]:
    """Make ready what can be made ready before the database is locked."""
    made = []
    for number, run in itertools.groupby(changes, key=lambda change: change.number):
        alike = list(run)
        newest: dict[str, tuple[Any, ...]] = {}
        for change in alike:
            for row in _rows(change):
                known = newest.get(row[0])
                if known is None or _time(known) <= _time(row):
                    newest[row[0]] = row
        # Sorted: two replicas lock rows in the same order.
        made.append(Page(number, [newest[alias] for alias in sorted(newest)], len(alike)))
    return made


def keep(connection: Any, phone_number_id: str, page: Page, *, received_at: float) -> None:
    """Keep names and removals; of each contact the newest by its own time."""
    rows = [(phone_number_id, *row[:-1], row[-1] or received_at) for row in page.rows]
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


def _time(row: tuple[Any, ...]) -> float:
    """Return when a change was made; one that does not tell was made when it arrived."""
    return math.inf if row[-1] is None else float(row[-1])


def _rows(change: ContactChange) -> list[tuple[Any, ...]]:
    """Return a row for each id of a contact; a username only where there is nothing better."""
    known_as = [alias[:160] for alias in identity.aliases(change.contact)]
    known_as = [alias for alias in known_as if identity.identifies(alias)] or known_as
    names = (plain(change.full_name), plain(change.first_name), plain(change.contact.username))
    return [(alias, known_as[0], *names, change.removed, change.at) for alias in known_as]
